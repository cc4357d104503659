"""Laws of annealed importance sampling, held to enumeration.

Statistical tests have fixed seeds and a level of four standard errors.
"""

import tracemalloc
from itertools import pairwise

import numpy as np
import oracles
import pytest
from helpers import MACHINES, binary_rows, plain, random_machine, some_rows, stream
from scipy.stats import chisquare

from sklearn_helmholtz import HelmholtzMachine
from sklearn_helmholtz._annealing import _Path, annealed_log_weights, annealed_rows
from sklearn_helmholtz._data import Rows
from sklearn_helmholtz._enumeration import exact_log_likelihood
from sklearn_helmholtz._parallel import workers
from sklearn_helmholtz._random import RowStream, row_keys


@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
@pytest.mark.parametrize(("n_temperatures", "n_moves"), [(1, 1), (3, 1), (10, 2)])
def test_mean_weight_is_the_likelihood(sizes, kind, n_temperatures, n_moves):
    machine = random_machine(sizes, seed=1, **kind)
    x = some_rows(machine, n_rows=3)
    n_chains = 4000
    rng = RowStream(row_keys(x), range(n_chains))
    many = np.tile(x, (n_chains, 1))
    log_w = annealed_log_weights(machine, many, n_temperatures, n_moves, rng)
    ratio = np.exp(log_w.reshape(n_chains, -1) - exact_log_likelihood(machine, x))
    error = ratio.std(axis=0) / n_chains**0.5
    assert (np.abs(ratio.mean(axis=0) - 1) < 4 * error).all()


def annealed(machine, x, *counts, seed=0):
    with workers(1) as team:
        return annealed_rows(machine, Rows(x), *counts, team, seed)


@pytest.mark.parametrize(("sizes", "kind"), MACHINES)
def test_estimate_rises_with_temperatures_and_meets_the_exact_value(sizes, kind):
    machine = random_machine(sizes, seed=1, scale=2.0, **kind)
    x = some_rows(machine, n_rows=40)
    exact = exact_log_likelihood(machine, x).mean()
    few, some, many = (
        annealed(machine, x, 10, n, 2).mean_log_weight.mean() for n in (1, 20, 200)
    )
    assert few < some < many
    assert abs(many - exact) < 0.05 + 0.1 * (exact - some)


def test_chains_need_no_help_from_recognition():
    """A recognition network that is wrong ruins importance sampling alone."""
    X = binary_rows(40, 10)
    machine = HelmholtzMachine((8,), max_iter=30, random_state=0).fit(X)
    machine.recognition_coefs_[0][...] *= -3
    exact = machine.exact_log_likelihood(X)
    off = exact - machine.annealed_log_likelihood(X, 4, 100, 3)
    sampled = exact - machine.log_likelihood(X, 1200)
    assert off.mean() < 0.2 * sampled.mean()


def test_row_scores_the_same_wherever_it_stands():
    X = binary_rows(30, 7)
    machine = HelmholtzMachine((5, 3), max_iter=2, random_state=0).fit(X)
    found = machine.annealed_log_likelihood(X, 3, 10, 2)
    order = np.random.default_rng(0).permutation(30)[:11]
    again = machine.annealed_log_likelihood(X[order], 3, 10, 2)
    np.testing.assert_allclose(again, found[order], rtol=1e-9)


def test_seeds_give_other_noise_and_none_gives_the_same():
    X = binary_rows(10, 7)
    machine = HelmholtzMachine((5,), max_iter=2, random_state=0).fit(X)
    one, same, other, again = (
        machine.annealed_log_likelihood(X, 2, 3, 1, random_state=seed)
        for seed in (None, None, 1, 1)
    )
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(other, again)
    assert (one != other).all()


def test_estimate_does_not_depend_on_the_threads():
    X = binary_rows(700, 9, np.float32)
    machine = HelmholtzMachine((6,), max_iter=2, random_state=0).fit(X)
    one, two = (
        machine.set_params(n_jobs=n).annealed_log_likelihood(X, 2, 5, 1) for n in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def test_density_follows_the_units_of_gaussian_data():
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (200, 4)) + 3 * rng.integers(0, 2, (200, 1))
    settings = {"visible": "gaussian", "max_iter": 5, "random_state": 0}
    machine = HelmholtzMachine((3,), **settings).fit(X)
    wide = HelmholtzMachine((3,), **settings).fit(10 * X)
    found = machine.annealed_log_likelihood(X, 4, 50, 2)
    np.testing.assert_allclose(found, machine.exact_log_likelihood(X), atol=0.5)
    moved = wide.annealed_log_likelihood(10 * X, 4, 50, 2) + 4 * np.log(10)
    np.testing.assert_allclose(moved.mean(), found.mean(), atol=0.05)


def test_effective_sample_size_lies_between_one_and_the_chains():
    X = binary_rows(20, 8)
    machine = HelmholtzMachine((5,), max_iter=2, random_state=0).fit(X)
    values, sizes = machine.annealed_log_likelihood(
        X, 6, 3, 1, return_effective_sample_size=True
    )
    assert values.shape == sizes.shape == (20,)
    assert ((sizes >= 1 - 1e-9) & (sizes <= 6 + 1e-9)).all()


@pytest.mark.parametrize("name", ["n_chains", "n_temperatures", "n_moves"])
@pytest.mark.parametrize("value", [0, 1.5])
def test_counts_that_are_no_positive_integers_are_refused(name, value):
    X = binary_rows(10, 4)
    machine = HelmholtzMachine((3,), max_iter=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match=f"{name} must be a positive integer"):
        machine.annealed_log_likelihood(X, **{name: value})


def test_memory_grows_neither_with_chains_nor_with_rows():
    X = binary_rows(2000, 60, np.float32)
    machine = HelmholtzMachine((30,), max_iter=1, n_jobs=1, random_state=0).fit(X)

    def peak(n_rows, n_chains):
        tracemalloc.start()
        machine.annealed_log_likelihood(X[:n_rows], n_chains, 2, 1)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few = peak(512, 4)
    assert peak(64, 600) < 2 * few
    assert peak(2000, 4) < 2 * few + 2000 * 3 * 8


@pytest.mark.parametrize("sizes", [(4, 2, 2), (3, 2, 2, 2)])
def test_moves_leave_every_distribution_of_the_path_as_it_is(sizes):
    """Of chains from p(x, s)^power start(s)^(1 - power): chi-square, level 1e-3."""
    machine, power, n_chains = random_machine(sizes, seed=5, scale=2.0), 0.3, 40_000
    x, guide = some_rows(machine, n_rows=1)[0], np.array([0.5, -1.0])
    states, chances = on_the_path(plain(machine), x, guide, power)
    drawn = np.random.default_rng(0).choice(len(states), size=n_chains, p=chances)
    rng = stream()
    path = _Path(machine, np.tile(x, (n_chains, 1)), np.tile(guide, (n_chains, 1)), rng)
    path.states[1:] = [
        np.array([states[place][level] for place in drawn])
        for level in range(len(sizes) - 1)
    ]
    path.move(power, 5)
    order = {tuple(np.concatenate(each)): place for place, each in enumerate(states)}
    moved = np.concatenate(path.states[1:], axis=1)
    seen = np.bincount([order[tuple(row)] for row in moved], minlength=len(states))
    assert chisquare(seen, chances * n_chains).pvalue > 1e-3


def on_the_path(machine, x, guide, power):
    """Return all hidden states and their chances on the way from the start to p."""
    states = oracles.hidden_states(machine)
    log_p = []
    for hidden in states:
        # The start: the guide's first layer below a dream of the others.
        start = oracles.log_bernoulli(hidden[0], guide)
        for level, (child, parent) in enumerate(pairwise([*hidden[1:], None]), start=2):
            logits = oracles.linear(parent, *machine["generative"][level])
            start += oracles.log_bernoulli(child, logits)
        joint = oracles.log_joint(machine, x, hidden)
        log_p.append(power * joint + (1 - power) * start)
    return states, np.exp(np.array(log_p) - oracles.log_sum(log_p))
