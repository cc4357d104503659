"""Penalties: learned priors are those that the weights make most likely."""

from functools import reduce

import numpy as np
import pytest
from helpers import (
    binary_rows,
    independent_score,
    parameters,
    random_machine,
    share_all_work,
)
from scipy.optimize import approx_fprime, minimize_scalar
from scipy.stats import t as student

from sklearn_helmholtz import HelmholtzMachine, _penalties
from sklearn_helmholtz._belief_network import Layer
from sklearn_helmholtz._data import Rows
from sklearn_helmholtz._fitted import machine_of
from sklearn_helmholtz._parallel import workers
from sklearn_helmholtz._penalties import (
    Evidence,
    Fixed,
    expected_squares,
    initial_scales,
    measure,
    measure_rows,
    next_scales,
    pooled,
    precision,
    pull_of_parents,
    share_of_evidence,
)
from sklearn_helmholtz._units import Bernoulli

FREEDOM = 3


def fixed_point(weights, sent=True):
    """Return the squared scale of one unit's weights, where it stays."""
    squares, scales = np.square(weights)[None], np.ones(1)
    sent = np.broadcast_to(sent, squares.shape)
    for _ in range(2000):
        scales = next_scales(squares, scales, sent)
    return scales.item()


@pytest.mark.parametrize("spread", [0.5, 1.0, 4.0])
def test_scales_of_known_weights_come_to_the_most_likely_ones(spread):
    weights = spread * np.random.default_rng(0).standard_t(FREEDOM, 40)

    def negative(log_scale):
        # One normal weight of scale one is added to them.
        scale = np.exp(log_scale)
        known = student.logpdf(weights, FREEDOM, scale=scale).sum()
        return -(known - log_scale - 0.5 / scale**2)

    best = np.exp(2 * minimize_scalar(negative, bounds=(-4, 4), method="bounded").x)
    assert fixed_point(weights) == pytest.approx(best, rel=1e-4)


def test_the_pull_is_the_gradient_of_the_weights_log_density():
    weights, scale = np.linspace(-3, 3, 7), 0.7

    def log_density(w):
        return student.logpdf(w, FREEDOM, scale=scale).sum()

    pull = precision(np.square(weights)[None], np.array([scale**2]))[0] * weights
    np.testing.assert_allclose(
        -pull, approx_fprime(weights, log_density, 1e-7), rtol=1e-4, atol=1e-6
    )


def test_expected_squares_go_from_the_priors_to_the_weights_own():
    weights, scales = np.array([[0.5, -2.0]]), np.array([0.8])
    certain = expected_squares(weights, np.full((1, 2), 1e12), scales)
    np.testing.assert_allclose(certain, np.square(weights))
    unseen = expected_squares(0 * weights, np.zeros((1, 2)), scales)
    np.testing.assert_allclose(unseen, 1 / precision(np.zeros((1, 2)), scales))


def test_weights_that_a_unit_cannot_have_do_not_count():
    weights = np.array([0.3, 2.0, -1.0])
    sent = np.array([False, True, True])
    assert fixed_point(weights, sent) == pytest.approx(fixed_point(weights[1:]))


# ------------------------------------------------------------------ measured rows


@pytest.mark.parametrize("autoregressive", [False, True])
def test_moments_are_those_of_the_recognised_states(autoregressive):
    """Checked where recognition copies units 0 and 1, so that states are known."""
    machine = random_machine((4, 2), autoregressive=autoregressive)
    copying = Layer(100 * np.eye(4, 2), np.full(2, -50.0), Bernoulli())
    machine = machine._replace(recognition=(copying,))
    x = np.random.default_rng(0).integers(0, 2, (30, 4)).astype(float)
    h, down = x[:, :2], machine.generative[0]
    logits = h @ down.weights + down.bias
    if autoregressive:
        logits += x @ machine.autoregressive[0].weights + machine.autoregressive[0].bias
    mean = 1 / (1 + np.exp(-logits))
    found = measure(machine, x)
    parents = {("generative", 0): h}
    if autoregressive:
        parents["autoregressive", 0] = x
    assert found.keys() == parents.keys()
    for key, parent in parents.items():
        information, variance = found[key].curvature()
        np.testing.assert_allclose(information, (mean * (1 - mean)).mean(axis=0))
        np.testing.assert_allclose(variance, parent.var(axis=0))


def test_moments_of_parts_add_up_to_those_of_all_rows():
    machine = random_machine((5, 4, 3), lateral=True)
    x = binary_rows(20, 5)
    whole, first, second = (measure(machine, part) for part in (x, x[:7], x[7:]))
    for key, found in whole.items():
        for mine, theirs in zip(found, pooled(first, second)[key], strict=True):
            np.testing.assert_allclose(mine, theirs)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_moments_of_blocks_add_up_in_one_order(n_jobs, monkeypatch):
    share_all_work(monkeypatch)
    machine, x = random_machine((5, 4, 3)), binary_rows(31, 5)
    with workers(n_jobs) as team:
        found = measure_rows(machine, Rows(x), team, block_rows=8)
    parts = [measure(machine, x[part]) for part in Rows(x).blocks(8)]
    for key, expected in reduce(pooled, parts).items():
        for mine, theirs in zip(found[key], expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("autoregressive", [False, True])
def test_real_units_information_is_one_over_their_variance(autoregressive):
    machine = random_machine((4, 3, 2), gaussian=True, autoregressive=autoregressive)
    x = np.random.default_rng(0).normal(size=(10, 4))
    found = measure(machine, x)
    for key in [("generative", 0)] + [("autoregressive", 0)] * autoregressive:
        information, _ = found[key].curvature()
        expected = 1 / machine.generative[0].units.variance
        np.testing.assert_allclose(information, expected)


# ------------------------------------------------------------------- what it does


def learned(machine, x, n_rows=40, share=1.0, *, of_parents=0):
    penalty = Evidence(initial_scales(machine), n_rows, share, of_parents=of_parents)
    penalty.learn(machine, measure(machine, x))
    return penalty


@pytest.mark.parametrize("key", [("generative", 0), ("autoregressive", 0)])
def test_the_pull_on_a_row_is_the_priors_over_the_rows(key):
    machine, x = random_machine((5, 3), autoregressive=True), binary_rows(20, 5)
    network, number = key
    layer = getattr(machine, network)[number]
    penalty = learned(machine, x, 40, share=0.5)
    gradient = np.zeros_like(layer.weights)
    penalty.pull(network, number, layer.weights, gradient)
    scales = penalty.scales[network][number]
    prior = precision(np.square(layer.weights), scales)
    expected = -0.5 / 40 * prior * layer.weights
    np.testing.assert_allclose(gradient, expected)


def test_the_pull_on_real_units_is_in_their_variance():
    """As their gradient is; no more than for a spread of one."""
    machine = random_machine((5, 3), gaussian=True)
    x, weights = np.random.default_rng(0).normal(size=(20, 5)), np.ones((3, 5))
    penalty = learned(machine, x)
    variance = np.array([0.01, 0.25, 0.5, 1.0, 4.0])
    pulls = []
    for given in (None, variance):
        gradient = np.zeros_like(weights)
        penalty.pull("generative", 0, weights, gradient, variance=given)
        pulls.append(gradient)
    np.testing.assert_allclose(pulls[1], np.minimum(variance, 1) * pulls[0])


@pytest.mark.parametrize(
    ("n_parents", "part"), [(1, 2.0), (12, 2.0), (48, 0.5), (200, 0.3)]
)
def test_real_units_are_pulled_the_less_the_more_hidden_parents_they_have(
    n_parents, part
):
    """Their weights from each other, and those of hidden units, are pulled as ever."""
    machine = random_machine((5, n_parents, 4), gaussian=True, autoregressive=True)
    x = np.random.default_rng(0).normal(size=(20, 5))
    real, binary = (learned(machine, x, 1000, of_parents=of) for of in (24, 0))
    for key, expected in (
        (("generative", 0), part),
        (("generative", 1), 1),
        (("autoregressive", 0), 0.3),
    ):
        weights = getattr(machine, key[0])[key[1]].weights
        pulls = []
        for penalty in (real, binary):
            pulls.append(np.zeros_like(weights))
            penalty.pull(*key, weights, pulls[-1])
        np.testing.assert_allclose(pulls[0], expected * pulls[1])


def test_units_that_see_each_other_are_pulled_half_as_much():
    plain, seeing = (
        random_machine((5, 3), gaussian=True, autoregressive=a) for a in (False, True)
    )
    assert pull_of_parents(plain) == 2 * pull_of_parents(seeing) > 0
    assert pull_of_parents(random_machine((5, 3))) == 0


@pytest.mark.parametrize("n_rows", [1, 10, 100])
@pytest.mark.parametrize("of_parents", [0, 24])
def test_no_weight_is_drawn_by_more_than_itself(n_rows, of_parents):
    machine = random_machine((5, 3), gaussian=of_parents > 0)
    x = np.random.default_rng(0).random((20, 5)).round()
    penalty = learned(machine, x, n_rows, of_parents=of_parents)
    weights = np.array([1e-6, 0.01, 0.1, 1.0, 10.0]) * np.ones((3, 1))
    pull = np.zeros_like(weights)
    penalty.pull("generative", 0, weights, pull)
    strength = penalty.strength("generative", 0)[:, None]
    assert (strength <= 1).all()
    assert (-pull <= strength * weights * (1 + 1e-12)).all()


@pytest.mark.parametrize("settings", [{}, {"lateral": True}])
def test_few_units_make_little_of_few_rows_of_noise(settings):
    """The factor of their pull is what keeps them from it: it was -122 nats."""
    X = np.random.default_rng(0).normal(size=(530, 60))
    machine = HelmholtzMachine(20, random_state=0, **settings).fit(X[:30])
    assert machine.score(X[30:]) > independent_score(X[:30], X[30:]) - 2


@pytest.mark.parametrize("gaussian", [False, True])
def test_training_tells_penalties_the_variance_of_the_units_that_weights_teach(
    gaussian, monkeypatch
):
    seen = {}

    def pull(self, network, number, weights, gradient, gain, variance):
        seen[network, number] = variance

    monkeypatch.setattr(Fixed, "pull", pull)
    settings = {"lateral": True, "autoregressive": True, "alpha": 0.1, "max_iter": 1}
    X = np.random.default_rng(0).random((30, 5)) + gaussian
    machine = HelmholtzMachine((4, 3), random_state=0, **settings).fit(X)
    real = {("generative", 0), ("autoregressive", 0)}
    assert real < seen.keys()
    for key, variance in seen.items():
        if gaussian and key in real:
            assert variance is machine_of(machine).generative[0].units.variance
        else:
            assert variance is None


@pytest.mark.parametrize("kind", ["evidence", "fixed"])
@pytest.mark.parametrize("batch_size", [1, 100])
def test_visible_biases_are_taught_by_half_a_row_more(batch_size, kind):
    n_rows, x = 10**4, binary_rows(20, 5)
    if kind == "fixed":
        penalty = Fixed(1e-3, Rows(x), n_rows)
    else:
        penalty = Evidence({}, n_rows, 1.0, batch_size, Rows(x))
    bias = np.zeros(5)
    penalty.pull_visible(bias, gain=0.2)
    bias /= 0.2 * penalty.every
    # That is where half a row more, half on and half off, has the mean.
    mean = (n_rows * x.mean(axis=0) + 0.5) / (n_rows + 1)
    np.testing.assert_allclose(bias, mean - x.mean(axis=0))


def test_visible_biases_are_left_alone_without_a_penalty_and_in_streams():
    X = np.zeros((30, 4))
    free = HelmholtzMachine((3,), alpha=0, max_iter=2000, random_state=0).fit(X)
    assert free.sample(500, mean=True, random_state=0).mean() < 0.3 * 0.5 / 31
    for penalty in (Fixed(0.0, Rows(X), 30), Fixed(0.1), Evidence({}, 30)):
        bias = np.zeros(4)
        penalty.pull_visible(bias)
        assert not bias.any()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"direction": "plain"},
        {"direction": "natural"},
        {"autoregressive": True},
        {"alpha": 0.03},
        {"learning_rule": "contrastive-divergence"},
    ],
    ids=str,
)
def test_columns_never_seen_keep_the_chance_that_half_a_row_gives(settings):
    X = np.hstack([binary_rows(60, 6), np.zeros((60, 4))])
    machine = HelmholtzMachine((8,), max_iter=400, random_state=0, **settings).fit(X)
    chance = machine.sample(2000, mean=True, random_state=0).mean(axis=0)[6:]
    # Without it two to forty percent of that, and less with more epochs.
    np.testing.assert_allclose(chance, 0.5 / 61, rtol=0.1)


def test_the_pull_is_at_most_the_weight():
    machine, x = random_machine((5, 3)), binary_rows(2, 5)
    weights = 1e-3 * machine.generative[0].weights
    gradient = np.zeros_like(weights)
    penalty = learned(machine, x, 2)
    penalty.scales["generative"][0][:] = 1 / 30
    penalty.pull("generative", 0, weights, gradient)
    np.testing.assert_allclose(gradient, -weights, rtol=1e-4)


def test_many_rows_are_pulled_for_seldom_and_as_much_in_all():
    machine, x = random_machine((5, 3)), binary_rows(20, 5)
    weights = machine.generative[0].weights
    pulls = []
    for batch_size in (100, 10**6):
        penalty = Evidence(initial_scales(machine), 10**5, batch_size=batch_size)
        penalty.learn(machine, measure(machine, x))
        gradient = np.zeros_like(weights)
        penalty.pull("generative", 0, weights, gradient)
        pulls.append(gradient / penalty.every)
        assert penalty.every == (8 if batch_size == 100 else 1)
    np.testing.assert_allclose(*pulls)
    assert [Evidence({}, n, 1.0, 100).every for n in (400, 1999, 2000)] == [1, 1, 2]


def test_upper_layers_have_priors_from_a_quarter_of_the_steps_on():
    machine, x = random_machine((5, 4, 3)), binary_rows(20, 5)
    for done, pulled in ((0.2, [True, False]), (0.25, [True, True])):
        penalty = Evidence(initial_scales(machine), 20)
        penalty.learn(machine, measure(machine, x), done)
        for number, expected in enumerate(pulled):
            weights = machine.generative[number].weights
            gradient = np.zeros_like(weights)
            penalty.pull("generative", number, weights, gradient)
            assert gradient.any() == expected


def test_priors_leave_a_second_layer_alive_that_has_something_to_say():
    """Pulled from the first epochs on, its weights come to nothing."""
    rng = np.random.default_rng(0)
    X = rng.beta(0.3, 0.3, (4, 20))[rng.integers(0, 4, 150)] > rng.random((150, 20))
    machine = HelmholtzMachine(random_state=0).fit(X.astype(float))
    assert np.abs(machine.generative_coefs_[1]).max() > 2


@pytest.mark.parametrize("every", [1, 3])
def test_a_step_in_so_many_pulls(every, monkeypatch):
    seen = []
    monkeypatch.setattr(Evidence, "pull", lambda *_: seen.append(1))
    monkeypatch.setattr(_penalties, "_steps_between", lambda *_: every)
    X = binary_rows(60, 5)
    HelmholtzMachine((3,), max_iter=2, batch_size=10, alpha="evidence").fit(X)
    # Twelve steps on three layers, the prior being one.
    assert len(seen) == 3 * 12 / every


def test_nothing_pulls_before_there_is_something_learned():
    machine = random_machine((5, 3))
    layer = machine.generative[0]
    gradient = np.zeros_like(layer.weights)
    Evidence(initial_scales(machine), 10).pull("generative", 0, layer.weights, gradient)
    Fixed(0.0).pull("generative", 0, layer.weights, gradient)
    assert not gradient.any()


def test_the_share_of_evidence_goes_from_one_to_none_with_the_rows():
    machine = random_machine((5, 3))
    shares = [share_of_evidence(machine, n_rows) for n_rows in (1, 10, 1000)]
    assert sorted(shares, reverse=True) == shares
    assert share_of_evidence(machine, 15 / 4) == pytest.approx(0.5)  # 15 weights
    # Of what visible units send, half of the square of weights is there.
    beside = random_machine((5, 3), autoregressive=True)
    assert share_of_evidence(beside, 27.5 / 4) == pytest.approx(0.5)


COINS = np.random.default_rng(0).integers(0, 2, (1040, 30)).astype(float)


def test_coins_teach_evidence_that_there_is_nothing_to_learn():
    """Held-out coins of 30 columns cost 30 log 2 = 20.8 nats."""
    train, test = COINS[:40], COINS[40:]
    scores = {}
    for alpha in (0.0, "auto", "evidence"):
        machine = HelmholtzMachine((20,), alpha=alpha, max_iter=200, random_state=0)
        scores[alpha] = machine.fit(train).log_likelihood(test, 100).mean()
    assert scores[0.0] < -23
    assert min(scores["auto"], scores["evidence"]) > -21.5


def test_normal_columns_teach_evidence_that_there_is_nothing_to_learn():
    """Held-out rows of 30 columns cost 42.6 nats."""
    rows = np.random.default_rng(0).normal(size=(1080, 30))
    train, test = rows[:80], rows[80:]
    scores = {}
    for alpha in (0.0, "auto", "evidence"):
        machine = HelmholtzMachine((100, 20), alpha=alpha, max_iter=150, random_state=0)
        scores[alpha] = machine.fit(train).log_likelihood(test, 50).mean()
    assert scores[0.0] < -55
    assert min(scores["auto"], scores["evidence"]) > -47


def test_evidence_leaves_what_rows_are_sure_of():
    """Pairs of equal columns: 5 bits a row are all that there is."""
    X = np.repeat(COINS[:400, :5], 2, axis=1)
    machine = HelmholtzMachine((10,), alpha="evidence", max_iter=300, random_state=0)
    assert machine.fit(X[:200]).log_likelihood(X[200:], 100).mean() > -5 * np.log(2) - 1


def test_partial_fit_has_no_priors():
    X = binary_rows()
    one, other = (
        HelmholtzMachine((6,), alpha=alpha, random_state=0)
        .partial_fit(X)
        .partial_fit(X)
        for alpha in ("evidence", 0.0)
    )
    np.testing.assert_array_equal(parameters(one), parameters(other))


def test_contrastive_divergence_refuses_evidence():
    machine = HelmholtzMachine(
        (6,), alpha="evidence", learning_rule="contrastive-divergence"
    )
    with pytest.raises(ValueError, match="alpha='auto' or a number"):
        machine.fit(binary_rows())


def test_scales_are_fitted_whatever_the_penalty_and_go_on_with_a_warm_start():
    X = binary_rows()
    machine = HelmholtzMachine((6, 4), alpha=0.0, max_iter=2, random_state=0).fit(X)
    sizes = [len(layer.weights) for layer in machine_of(machine).generative]
    assert [len(scales) for scales in machine._scales["generative"]] == sizes
    machine.set_params(alpha="evidence", warm_start=True).fit(X)
    assert all(np.all(scales != 1) for scales in machine._scales["generative"][:-1])


@pytest.mark.parametrize("make", [lambda machine, x: Fixed(0.3), learned])
def test_pull_is_a_pull_on_so_many_times_the_gradient(make):
    machine, x = random_machine((5, 3)), binary_rows(20, 5)
    penalty, weights = make(machine, x), machine.generative[0].weights
    pulls = np.zeros((2, *weights.shape))
    for gain, gradient in zip((1.0, 0.2), pulls, strict=True):
        penalty.pull("generative", 0, weights, gradient, gain)
    assert pulls[0].all()
    np.testing.assert_allclose(pulls[1], 0.2 * pulls[0])


@pytest.mark.parametrize("make", [lambda machine, x: Fixed(0.3), learned])
def test_strength_is_the_most_that_small_weights_are_drawn_by(make):
    machine, x = random_machine((5, 3)), binary_rows(20, 5)
    penalty, small = make(machine, x), np.full((3, 5), 1e-6)
    gradient = np.zeros_like(small)
    penalty.pull("generative", 0, small, gradient)
    found = penalty.strength("generative", 0) * np.ones(3)
    np.testing.assert_allclose(-gradient / small, np.tile(found[:, None], 5))


def test_scales_of_visible_units_are_those_of_what_they_send_to_later_ones():
    machine, x = random_machine((5, 3), autoregressive=True), binary_rows(20, 5)
    found = learned(machine, x).scales["autoregressive"][0]
    weights = machine.autoregressive[0].weights
    information, variance = measure(machine, x)["autoregressive", 0].curvature()
    for unit in range(5):
        after, one = slice(unit + 1, None), np.ones(1)
        curvature = np.outer(40 * variance[unit], information[after])
        squares = expected_squares(weights[[unit], after], curvature, one)
        sent = np.ones((1, 4 - unit), dtype=bool)
        np.testing.assert_allclose(found[unit], next_scales(squares, one, sent)[0])


def test_scales_of_units_that_send_nothing_end_at_the_smallest():
    scales = np.ones(1)
    for _ in range(500):
        scales = next_scales(np.zeros((1, 300)), scales, np.ones((1, 300), bool))
    assert scales[0] == pytest.approx(1 / 30)
