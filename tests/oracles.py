"""Slow, plain loops over all states; no code shared with the package.

A machine is a plain dict: ``generative`` and ``recognition`` are lists of
(weights, bias), bottom-up as in the paper, weights as nested lists or arrays;
``lateral`` may hold the recognition layers' lateral weights and biases, and
``autoregressive`` those of the visible units;
``variance`` holds the visible variances of a Gaussian machine.
"""

import itertools
import math


def sigmoid(a):
    return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))


def log_sigmoid(a):
    return -math.log1p(math.exp(-a)) if a >= 0 else a - math.log1p(math.exp(a))


def log_bernoulli(states, logits):
    """Return log p(s), states possibly in (0, 1)."""
    total = 0.0
    for s, a in zip(states, logits, strict=True):
        total += s * log_sigmoid(a) + (1 - s) * log_sigmoid(-a)
    return total


def log_normal(x, means, variances):
    total = 0.0
    for value, mean, variance in zip(x, means, variances, strict=True):
        total -= 0.5 * math.log(2 * math.pi * variance)
        total -= (value - mean) ** 2 / (2 * variance)
    return total


def linear(parent, weights, bias):
    """Return parent @ weights + bias by loops; parent None for the prior."""
    logits = [float(b) for b in bias]
    for i, s in enumerate(parent if parent is not None else []):
        for j in range(len(logits)):
            logits[j] += s * float(weights[i][j])
    return logits


def add_those_before(logits, states, weights, bias):
    """Add to every unit's logit what it gets from the states before its own."""
    for j in range(len(logits)):
        logits[j] += float(bias[j])
        logits[j] += sum(states[i] * float(weights[i][j]) for i in range(j))


def all_states(n_units):
    return list(itertools.product((0.0, 1.0), repeat=n_units))


def hidden_states(machine):
    """Return all combinations of hidden layers' states, each a list bottom-up."""
    sizes = [len(bias) for _, bias in machine["recognition"]]
    return [list(s) for s in itertools.product(*(all_states(n) for n in sizes))]


def log_joint(machine, x, hidden):
    """Return log p(x, s)."""
    states = [x, *hidden]
    total = 0.0
    for level, (weights, bias) in enumerate(machine["generative"]):
        parent = states[level + 1] if level + 1 < len(states) else None
        logits = linear(parent, weights, bias)
        if level == 0 and "autoregressive" in machine:
            add_those_before(logits, x, *machine["autoregressive"])
        if level == 0 and "variance" in machine:
            total += log_normal(x, logits, machine["variance"])
        else:
            total += log_bernoulli(states[level], logits)
    return total


def log_recognition(machine, x, hidden):
    """Return log q(s | x)."""
    states = [x, *hidden]
    total = 0.0
    for level, (weights, bias) in enumerate(machine["recognition"]):
        logits = linear(states[level], weights, bias)
        if "lateral" in machine:
            add_those_before(logits, states[level + 1], *machine["lateral"][level])
        total += log_bernoulli(states[level + 1], logits)
    return total


def log_sum(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def log_evidence(machine, x):
    """Return log p(x)."""
    return log_sum([log_joint(machine, x, s) for s in hidden_states(machine)])


def free_energy(machine, x):
    """Return E_q[log q(s | x) - log p(x, s)]."""
    total = 0.0
    for s in hidden_states(machine):
        log_q = log_recognition(machine, x, s)
        total += math.exp(log_q) * (log_q - log_joint(machine, x, s))
    return total


def divergence_from_posterior(machine, x):
    """Return KL(q(s | x) || p(s | x))."""
    evidence = log_evidence(machine, x)
    total = 0.0
    for s in hidden_states(machine):
        log_q = log_recognition(machine, x, s)
        total += math.exp(log_q) * (log_q - log_joint(machine, x, s) + evidence)
    return total


def wake_objective(machine, rows):
    """Return the rows' mean of E_q[log p(x, s)]."""
    total = 0.0
    for x in rows:
        for s in hidden_states(machine):
            q = math.exp(log_recognition(machine, x, s))
            total += q * log_joint(machine, x, s)
    return total / len(rows)


def sleep_objective(target, machine):
    """Return E_p[log q(s | x)], p of `machine` and q of `target`, binary x."""
    n_visible = len(machine["generative"][0][1])
    total = 0.0
    for x in all_states(n_visible):
        for s in hidden_states(machine):
            p = math.exp(log_joint(machine, x, s))
            total += p * log_recognition(target, x, s)
    return total


def bars(size=4, p_vertical=2 / 3, p_on=0.2):
    """Return {image: probability} of the bars of Hinton et al. 1995."""
    table = {}
    for vertical, p in ((True, p_vertical), (False, 1 - p_vertical)):
        for on in itertools.product((0, 1), repeat=size):
            image = tuple(
                float(on[column] if vertical else on[row])
                for row in range(size)
                for column in range(size)
            )
            chance = p
            for bar in on:
                chance *= p_on if bar else 1 - p_on
            table[image] = table.get(image, 0.0) + chance
    return table


def shifter(width=6, p_on=0.3):
    """Return {image: probability}: a row of bits and the same moved left or right.

    A small form of the shifter of Dayan et al. 1995.
    """
    table = {}
    for bits in itertools.product((0.0, 1.0), repeat=width):
        chance = 1.0
        for bit in bits:
            chance *= p_on if bit else 1 - p_on
        for moved in (bits[1:] + bits[:1], bits[-1:] + bits[:-1]):
            image = bits + moved
            table[image] = table.get(image, 0.0) + chance / 2
    return table
