"""Expected updates are the derivatives of the enumerated objectives.

Nothing is sampled: the passes are replaced by given states, and the
regressions' gradients are summed over all states by their probabilities.
"""

from itertools import pairwise

import numpy as np
import oracles
import pytest
from helpers import plain, random_machine, stream, with_parameter

from sklearn_helmholtz import HelmholtzMachine, _particles, _phases
from sklearn_helmholtz._belief_network import TRIANGULAR, Scratch
from sklearn_helmholtz._learning_rules import LEARNING_RULES, ReweightedWakeSleep
from sklearn_helmholtz._particles import refined_wake, reweighted_wake
from sklearn_helmholtz._phases import contrast, sleep, wake

SIZES = [(3, 2), (2, 2, 2), (2, 2, 1, 2)]
STEP = 1e-5


def collect(regressions, weight, totals):
    """Add the regressions' gradients, times a weight, to totals."""
    for regression in regressions:
        residual = regression.residual
        key = regression.network, regression.layer
        parent = regression.parent
        if parent is None:
            parent = np.zeros((len(residual), 0))
        found = parent.T @ residual, residual.sum(axis=0)
        before = totals.get(key, (0, 0))
        totals[key] = tuple(b + weight * f for b, f in zip(before, found, strict=True))


def slopes(objective, machine, network, level):
    """Return central differences of objective(machine) to weights and bias."""
    found = []
    for which in ("weights", "bias"):
        value = getattr(getattr(machine, network)[level], which)
        slope = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[place] += sign * STEP
                ends.append(
                    objective(with_parameter(machine, network, level, which, moved))
                )
            slope[place] = (ends[0] - ends[1]) / (2 * STEP)
        found.append(slope)
    return found


#: The networks whose first layer has the visible units for its children.
OF_VISIBLE = "generative", "autoregressive"


def assert_is_gradient(totals, objective, machine, network, scale=1.0):
    for level in range(len(getattr(machine, network))):
        weights, bias = slopes(objective, machine, network, level)
        if network in TRIANGULAR:
            # What stands on and below the diagonal is no parameter.
            weights = np.triu(weights, 1)
            found = np.triu(totals[network, level][0], 1)
        else:
            found = totals[network, level][0]
        by = scale if level == 0 and network in OF_VISIBLE else 1.0
        np.testing.assert_allclose(found / by, weights, atol=1e-8)
        np.testing.assert_allclose(totals[network, level][1] / by, bias, atol=1e-8)


@pytest.mark.parametrize("autoregressive", [False, True])
@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_expected_wake_update_is_the_gradient(
    sizes, gaussian, autoregressive, monkeypatch
):
    machine = random_machine(sizes, gaussian=gaussian, autoregressive=autoregressive)
    x = np.linspace(-1, 2, sizes[0]) if gaussian else np.arange(sizes[0]) % 2.0
    totals = {}
    for s in oracles.hidden_states(plain(machine)):
        states = [x[None], *(np.array([layer]) for layer in s)]
        monkeypatch.setattr(_phases, "up_pass", lambda *_, s=states: s)
        q = np.exp(oracles.log_recognition(plain(machine), x, s))
        collect(wake(machine, x[None], None, Scratch(float), 0.5), 2 * q, totals)
    # Gaussian means step by their natural gradient: the slope times the variance.
    scale = machine.generative[0].units.variance if gaussian else 1.0

    def objective(m):
        return oracles.wake_objective(plain(m), [x])

    for network in ["generative", *(["autoregressive"] if autoregressive else [])]:
        assert_is_gradient(totals, objective, machine, network, scale)


@pytest.mark.parametrize("lateral", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_expected_sleep_update_is_the_gradient(sizes, lateral, monkeypatch):
    machine = random_machine(sizes, lateral=lateral)
    totals = {}
    for x in oracles.all_states(sizes[0]):
        for s in oracles.hidden_states(plain(machine)):
            states = [np.array([layer]) for layer in (x, *s)]
            monkeypatch.setattr(_phases, "down_pass", lambda *_, s=states: s)
            p = np.exp(oracles.log_joint(plain(machine), x, s))
            collect(sleep(machine, 1, None, Scratch(float), 0.5), 2 * p, totals)

    def objective(m):
        return oracles.sleep_objective(plain(m), plain(machine))

    for network in ["recognition", *(["lateral"] if lateral else [])]:
        assert_is_gradient(totals, objective, machine, network)


@pytest.mark.parametrize("gaussian", [False, True])
def test_expected_contrast_of_shared_weights_is_contrastive_divergence(
    gaussian, monkeypatch
):
    machine = random_machine((3, 2), gaussian=gaussian)
    down, up = machine.generative[0], machine.recognition[0]
    np.copyto(down.weights, up.weights.T)
    x, h = np.array([[1.0, 0.0, 1.0]]), np.array([[0.0, 1.0]])
    mean = down.units.mean(h @ down.weights + down.bias)
    monkeypatch.setattr(_phases, "up_pass", lambda *_: [x, h])
    if gaussian:  # symmetric about the mean, so that their average is it
        steps = [*np.eye(3), *-np.eye(3)]
        echoes = [(mean + step, 1 / 6) for step in steps]
    else:
        echoes = [
            (np.array([echo]), np.prod(np.where(echo, mean, 1 - mean)))
            for echo in oracles.all_states(3)
        ]
    totals, expected = {}, x.T @ h
    for echo, chance in echoes:
        monkeypatch.setattr(type(down.units), "sample", lambda *_, e=echo, **__: e)
        regressions = contrast(machine, x, None, Scratch(float), 0.5)
        collect(regressions, 2 * chance, totals)
        again = up.units.mean(echo @ up.weights + up.bias)
        expected = expected - chance * echo.T @ again
    found = totals["recognition", 0][0] + totals["generative", 0][0].T
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "kind"),
    [
        ((3, 2), {}),
        ((3, 2, 2), {}),
        ((3, 2, 3, 1), {}),
        ((3, 2), {"gaussian": True}),
        ((3, 2, 2), {"lateral": True}),
        ((3, 2, 2), {"autoregressive": True}),
        ((3, 2), {"autoregressive": True, "gaussian": True}),
    ],
)
def test_reweighted_update_is_the_weighted_sum_over_its_particles(
    sizes, kind, monkeypatch
):
    machine = random_machine(sizes, **kind)
    n_particles, n_rows, share = 4, 3, 0.7
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (n_rows, sizes[0])).astype(float)
    drawn = [
        rng.integers(0, 2, (n_particles, n_rows, size)).astype(float)
        for size in sizes[1:]
    ]
    order = iter(drawn)
    monkeypatch.setattr(
        type(machine), "draw", lambda *_, out: np.copyto(out, next(order))
    )
    found = {}
    collect(
        reweighted_wake(
            machine, x, stream(), Scratch(float), 1 / n_rows, n_particles, share
        ),
        1.0,
        found,
    )
    expected = weighted_sums(machine, x, drawn, share)
    assert set(found) == set(expected)
    for key, values in expected.items():
        for one, other in zip(found[key], values, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def weighted_sums(machine, x, drawn, share):
    """Return the reweighted update by loops over rows and particles."""
    table = plain(machine)
    totals = {}
    for row in range(len(x)):
        particles = [[s[k, row] for s in drawn] for k in range(len(drawn[0]))]
        log_w = [
            oracles.log_joint(table, x[row], s)
            - oracles.log_recognition(table, x[row], s)
            for s in particles
        ]
        weights = np.exp(np.array(log_w) - oracles.log_sum(log_w)) / len(x)
        for s, w in zip(particles, weights, strict=True):
            add_particle(machine, [x[row], *s], w, share, totals)
    return totals


def add_particle(machine, states, w, share, totals):
    def add(key, parent, residual, factor):
        before = totals.get(key, (0, 0))
        update = np.outer(parent, residual) * factor, residual * factor
        totals[key] = tuple(b + u for b, u in zip(before, update, strict=True))

    for level, (child, parent) in enumerate(pairwise([*states, np.zeros(0)])):
        layer = machine.generative[level]
        mean = oracles.linear(parent, *layer[:2])
        beside = machine.autoregressive[level : level + 1]
        for each in beside:
            oracles.add_those_before(mean, child, *each[:2])
        if layer.units.binary:
            mean = [oracles.sigmoid(a) for a in mean]
        add(("generative", level), parent, child - mean, w)
        for _ in beside:
            add(("autoregressive", level), child, child - mean, w)
    for level, (parent, child) in enumerate(pairwise(states)):
        logits = np.array(oracles.linear(parent, *machine.recognition[level][:2]))
        if machine.lateral:
            lateral = machine.lateral[level]
            logits += lateral.bias + child @ lateral.weights
        residual = child - np.array([oracles.sigmoid(a) for a in logits])
        add(("recognition", level), parent, residual, w * share)
        if machine.lateral:
            add(("lateral", level), child, residual, w * share)


@pytest.mark.parametrize("sizes", SIZES)
def test_expected_squares_move_the_variance_up_the_gradient(sizes, monkeypatch):
    machine = random_machine(sizes, gaussian=True)
    x = np.linspace(-1, 2, sizes[0])
    squares = 0.0
    for s in oracles.hidden_states(plain(machine)):
        states = [x[None], *(np.array([layer]) for layer in s)]
        monkeypatch.setattr(_phases, "up_pass", lambda *_, s=states: s)
        q = np.exp(oracles.log_recognition(plain(machine), x, s))
        found = next(wake(machine, x[None], None, Scratch(float), 0.5))
        squares = squares + 2 * q * found.squares
    variance = machine.generative[0].units.variance
    for j, value in enumerate(variance):
        ends = []
        for sign in (1, -1):
            moved = plain(machine) | {"variance": variance.copy()}
            moved["variance"][j] = value + sign * STEP
            ends.append(oracles.wake_objective(moved, [x]))
        slope = (ends[0] - ends[1]) / (2 * STEP)
        # d log p / d v = (r^2 - v) / (2 v^2); squares - v is that times 2 v^2.
        assert (squares[j] - value) / (2 * value**2) == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize(
    ("phase", "rest"),
    [
        (wake, ()),
        (reweighted_wake, (1, 0)),
        (reweighted_wake, (3, 0)),
        (refined_wake, (3, 0, 1)),
    ],
)
def test_a_mean_with_two_regressions_has_one_variance(phase, rest):
    # Parents and those before add to it, and each regression must know of the other.
    machine = random_machine((5, 4, 3), gaussian=True, autoregressive=True)
    x = np.random.default_rng(0).normal(size=(6, 5))
    found = {
        each[:2]: (each.squares is None, each.n_linear_parents)
        for each in phase(machine, x, stream(), Scratch(float), 1 / 6, *rest)
    }
    assert found.pop(("generative", 0)) == (False, 2)
    assert found.pop(("autoregressive", 0)) == (True, 2)
    assert set(found.values()) == {(True, 0)}


@pytest.mark.parametrize("chosen", [None, 0, 3])
def test_squares_are_means_over_particles_half_by_weight_and_half_alike(
    chosen, monkeypatch
):
    """A moved particle, here one of those recognised, has all of a row's weight."""
    machine = random_machine((3, 2), gaussian=True)
    n_particles, n_rows = 4, 3
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_rows, 3))
    s = rng.integers(0, 2, (n_particles, n_rows, 2)).astype(float)
    monkeypatch.setattr(type(machine), "draw", lambda *_, out: np.copyto(out, s))
    monkeypatch.setattr(_particles, "choose", lambda *_: np.full(n_rows, chosen))
    monkeypatch.setattr(_particles, "refine", lambda *_: None)
    phase = reweighted_wake if chosen is None else refined_wake
    rest = (n_particles, 1.0) if chosen is None else (n_particles, 1.0, 2)
    found = next(phase(machine, x, stream(), Scratch(float), 1 / n_rows, *rest)).squares
    table, expected = plain(machine), np.zeros(3)
    for row in range(n_rows):
        log_w = [
            oracles.log_joint(table, x[row], [s[k, row]])
            - oracles.log_recognition(table, x[row], [s[k, row]])
            for k in range(n_particles)
        ]
        for k, log_weight in enumerate(log_w):
            weight = np.exp(log_weight - oracles.log_sum(log_w))
            if chosen is not None:
                weight = float(k == chosen)
            mean = oracles.linear(s[k, row], *table["generative"][0])
            part = (weight + 1 / n_particles) / 2 / n_rows
            expected += part * np.square(x[row] - mean)
    np.testing.assert_allclose(found, expected)


def test_reweighted_with_one_particle_and_sleep_alone_is_wake_sleep_exactly():
    X = np.random.default_rng(0).integers(0, 2, (230, 9)).astype(np.float32)
    settings = {"hidden_layer_sizes": (6, 3), "max_iter": 4, "random_state": 0}
    one = HelmholtzMachine(learning_rule="wake-sleep", **settings).fit(X)
    other = HelmholtzMachine(
        learning_rule="reweighted-wake-sleep", n_particles=1, wake_share=0, **settings
    ).fit(X)
    for name in ("generative_coefs_", "recognition_coefs_", "recognition_intercepts_"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rule", LEARNING_RULES.values())
@pytest.mark.parametrize("n_particles", [1, 5])
@pytest.mark.parametrize("n_rows", [1, 2, 7, 100])
def test_lanes_take_every_row_through_each_phase_once(rule, n_particles, n_rows):
    lanes = rule(n_particles, 1.0, 1.0).lanes(n_rows)
    for phase in ("wake", "sleep"):
        rows = [
            row
            for lane in lanes
            for name, part in lane.phases
            if name == phase
            for row in range(part.start, part.stop)
        ]
        assert sorted(rows) == list(range(n_rows))


def updates(regressions):
    """Return {(network, layer): residual} of regressions, as copies."""
    return {found[:2]: found.residual.copy() for found in regressions}


def wake_updates(rule):
    machine, x = random_machine((4, 3, 2)), np.eye(6, 4)
    return updates(rule.wake(machine, x, stream(), Scratch(float), 1 / 6))


def sleep_updates(rule):
    machine = random_machine((4, 3, 2))
    return updates(rule.sleep(machine, 6, stream(), Scratch(float), 1 / 6))


@pytest.mark.parametrize("n_particles", [1, 2, 5])
def test_shares_are_factors_of_the_recognition_updates(n_particles):
    whole = ReweightedWakeSleep(n_particles, 1.0, 1.0)
    part = ReweightedWakeSleep(n_particles, 0.3, 0.7)
    found, expected = wake_updates(part), wake_updates(whole)
    assert set(found) == set(expected)
    assert {network for network, _ in found} == {"generative", "recognition"}
    for key, residual in expected.items():
        factor = 0.3 if key[0] == "recognition" else 1.0
        np.testing.assert_allclose(found[key], factor * residual)
    found, expected = sleep_updates(part), sleep_updates(whole)
    assert {network for network, _ in found} == {"recognition"}
    for key, residual in expected.items():
        np.testing.assert_allclose(found[key], 0.7 * residual)


def test_share_is_a_factor_of_what_a_moved_particle_teaches_recognition():
    machine, x = random_machine((4, 3, 2)), np.eye(6, 4)
    found, expected = (
        updates(
            ReweightedWakeSleep(3, share, 1.0, n_moves=2).wake(
                machine, x, stream(), Scratch(float), 1 / 6
            )
        )
        for share in (0.3, 1.0)
    )
    assert set(found) == set(expected)
    for key, residual in expected.items():
        factor = 0.3 if key[0] == "recognition" else 1.0
        np.testing.assert_allclose(found[key], factor * residual)


def test_contrast_teaches_the_generative_network_as_wake_does():
    machine, x = random_machine((4, 3, 2)), np.eye(5, 4)
    found, expected = (
        updates(phase(machine, x, stream(), Scratch(float), 0.2))
        for phase in (contrast, wake)
    )
    for key, residual in expected.items():
        np.testing.assert_array_equal(found[key], residual)


@pytest.mark.parametrize("autoregressive", [False, True])
def test_regressions_that_teach_one_linear_mean_are_counted(autoregressive):
    machine = random_machine((4, 3, 2), gaussian=True, autoregressive=autoregressive)
    x = np.random.default_rng(0).normal(size=(5, 4))
    for each in wake(machine, x, stream(), Scratch(float), 0.2):
        expected = 1 + autoregressive if each.layer == 0 else 0
        assert each.n_linear_parents == expected


@pytest.mark.parametrize("n_particles", [1, 2, 5])
def test_phase_without_a_share_leaves_the_recognition_network_alone(n_particles):
    rule = ReweightedWakeSleep(n_particles, 0.0, 0.0)
    found = wake_updates(rule)
    assert set(found) == {("generative", level) for level in range(3)}
    assert sleep_updates(rule) == {}
    if n_particles == 1:
        # One particle has all the weight of its row: the plain wake phase.
        machine, x = random_machine((4, 3, 2)), np.eye(6, 4)
        expected = updates(wake(machine, x, stream(), Scratch(float), 1 / 6))
        for key, residual in expected.items():
            np.testing.assert_array_equal(found[key], residual)


def test_wake_sleep_is_one_particle_that_sleep_alone_teaches_from():
    rule = LEARNING_RULES["wake-sleep"](7, 0.3, 0.2)
    assert (rule.n_particles, rule.wake_share, rule.sleep_share) == (1, 0, 1)


@pytest.mark.parametrize(
    ("n_particles", "n_moves", "n_rows", "n_awake"),
    [(1, 0, 9, 9), (5, 0, 1, 1), (5, 0, 100, 60), (1, 3, 8, 5), (2, 0, 9, 7)],
)
def test_lanes_take_equally_long_if_a_particle_takes_as_long_as_a_dream(
    n_particles, n_moves, n_rows, n_awake
):
    lanes = ReweightedWakeSleep(n_particles, 1.0, 1.0, n_moves).lanes(n_rows)
    rest = (("wake", slice(n_awake, n_rows)),) if n_awake < n_rows else ()
    assert lanes[0].phases == (("wake", slice(0, n_awake)),)
    assert lanes[1].phases == (*rest, ("sleep", slice(0, n_rows)))


def test_lane_owns_the_networks_that_it_alone_teaches():
    def owns(*settings):
        return [lane.owns for lane in ReweightedWakeSleep(*settings).lanes(9)]

    assert owns(1, 0.0, 1.0) == [
        ("generative", "autoregressive"),
        ("recognition", "lateral"),
    ]
    assert owns(1, 1.0, 1.0) == [("generative", "autoregressive"), ()]
    assert owns(5, 1.0, 1.0) == [(), ()]
    assert owns(5, 0.0, 1.0) == [(), ("recognition", "lateral")]


# ---------------------------------------------------------------- information


def expected_information(regression, logits):
    """Return w m (1 - m) of units with these logits and the residual w (s - m).

    A residual's sign tells the state, and with it the row's weight w.
    """
    mean = 1 / (1 + np.exp(-logits))
    weight = regression.residual / ((regression.residual > 0) - mean)
    np.testing.assert_allclose(weight, weight[:, :1] * np.ones_like(weight))
    return weight * mean * (1 - mean)


def informed_phases(machine, x):
    """Return the regressions of each phase, with arrays of their own."""
    phases = {
        "wake": lambda: wake(machine, x, stream(1), Scratch(float), 0.2, informed=True),
        "sleep": lambda: sleep(
            machine, 5, stream(2), Scratch(float), 0.2, informed=True
        ),
        "reweighted": lambda: reweighted_wake(
            machine, x, stream(3), Scratch(float), 0.2, 3, 0.7, informed=True
        ),
    }
    for name, phase in phases.items():
        for each in phase():
            arrays = each.residual.copy(), np.array(each.information)
            yield name, each._replace(residual=arrays[0], information=arrays[1])


@pytest.mark.parametrize("lateral", [False, True])
def test_information_is_the_weighted_variance_of_every_unit(lateral):
    machine = random_machine((4, 3, 2), lateral=lateral)
    x = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(float)
    seen = []
    for phase, each in informed_phases(machine, x):
        layer = getattr(machine, each.network)[each.layer]
        seen.append((phase, each.network, each.layer))
        summed = phase == "reweighted" and each.network == "recognition"
        if each.network == "lateral" or (lateral and each.network == "recognition"):
            continue  # two parents make these logits; they follow below
        if each.parent is None:
            continue  # one row for all, see below
        logits = layer.logits(each.parent)
        if summed and each.layer == 0:
            # Summed over particles whose weights are 0.7 * 0.2 together.
            mean = 1 / (1 + np.exp(-logits))
            expected = 0.7 * 0.2 * mean * (1 - mean)
        else:
            expected = expected_information(each, logits)
        np.testing.assert_allclose(each.information, expected)
    n_networks = 3 if lateral else 2
    assert {network for _, network, _ in seen} == set(machine._fields[:n_networks])
    assert len(seen) == 3 + (n_networks - 1) * 2 + 3 + (n_networks - 1) * 2


def test_information_counts_what_units_see_of_their_own_layer():
    machine = random_machine((4, 3, 2), lateral=True)
    x = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(float)
    below = {}
    for phase, each in informed_phases(machine, x):
        if each.network == "recognition":
            below[phase, each.layer] = each
        if each.network != "lateral":
            continue
        first = below[phase, each.layer]
        logits = machine.recognition[each.layer].logits(first.parent)
        if len(logits) != len(each.parent):  # particles share the row
            logits = np.tile(logits, (3, 1))
        logits = logits + machine.lateral[each.layer].logits(each.parent)
        expected = expected_information(each, logits)
        np.testing.assert_allclose(each.information, expected)
        if len(first.information) != len(expected):
            expected = expected.reshape(3, 5, -1).sum(axis=0)
        np.testing.assert_allclose(first.information, expected)


def test_information_of_visible_units_counts_what_they_see_of_each_other():
    machine = random_machine((4, 3, 2), autoregressive=True)
    x = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(float)
    first = {}
    n_seen = 0
    for phase, each in informed_phases(machine, x):
        if each[:2] == ("generative", 0):
            first[phase] = each
            logits = machine.generative[0].logits(each.parent)
            sent = machine.autoregressive[0].logits(x)
            logits += np.tile(sent, (len(logits) // len(x), 1))
            expected = expected_information(each, logits)
            np.testing.assert_allclose(each.information, expected)
        if each.network == "autoregressive":
            n_seen += 1
            for name in ("information", "residual"):
                mine = getattr(first[phase], name).reshape(-1, *x.shape).sum(axis=0)
                np.testing.assert_allclose(getattr(each, name), mine)
    assert n_seen == 2


@pytest.mark.parametrize("name", LEARNING_RULES)
@pytest.mark.parametrize("informed", [None, False, True])
def test_information_is_there_where_it_is_asked_for(name, informed):
    machine = random_machine((4, 3, 2), lateral=True)
    asked = {} if informed is None else {"informed": informed}
    rule = LEARNING_RULES[name](3, 1.0, 1.0, **asked)
    x = np.ones((5, 4))
    for phase, data in ((rule.wake, x), (rule.sleep, 5)):
        for each in phase(machine, data, stream(), Scratch(float), 0.2):
            assert (each.information is not None) == bool(informed)


@pytest.mark.parametrize("phase", [wake, sleep, reweighted_wake, contrast])
def test_phases_carry_no_information_unless_asked(phase):
    machine = random_machine((4, 3))
    data = 5 if phase is sleep else np.ones((5, 4))
    rest = (3, 1.0) if phase is reweighted_wake else ()
    for each in phase(machine, data, stream(), Scratch(float), 0.2, *rest):
        assert each.information is None


def test_information_of_the_prior_and_gaussian_units():
    machine = random_machine((4, 3), gaussian=True)
    x = np.random.default_rng(0).normal(size=(5, 4))
    for phase, each in informed_phases(machine, x):
        if each.network != "generative":
            continue
        if each.layer == 0:  # the rows' weights, which sum to one
            np.testing.assert_allclose(each.information.sum(axis=0), 1.0)
        else:
            mean = 1 / (1 + np.exp(-machine.generative[1].bias))
            expected = mean * (1 - mean)
            np.testing.assert_allclose(each.information.sum(axis=0), expected)
        assert phase != "sleep"


def test_phases_put_their_residuals_into_the_scratch_arrays():
    machine = random_machine((4, 3, 2))
    scratch = Scratch(float)
    for each in wake(machine, np.ones((5, 4)), stream(), scratch, 0.2):
        if each.parent is not None:
            shape = each.residual.shape
            assert each.residual is scratch(("residual", each.layer), shape)
    for each in reweighted_wake(machine, np.ones((5, 4)), stream(), scratch, 0.2, 3, 0):
        if each.parent is not None:
            shape = 15, each.residual.shape[1]
            assert np.shares_memory(
                each.residual, scratch(("residual", each.layer), shape)
            )


def test_all_particles_teach_where_recognition_learns_from_dreams_alone():
    machine = random_machine((4, 3))
    rule = ReweightedWakeSleep(3, wake_share=0.0, sleep_share=1.0)
    found = list(rule.wake(machine, np.ones((5, 4)), stream(), Scratch(float), 0.2))
    assert {each.network for each in found} == {"generative"}
    assert [len(each.residual) for each in found] == [15, 1]
    assert found[1].parent is None
