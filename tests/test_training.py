"""Training: steps are mean gradients, rows come once an epoch, seeds repeat."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import (
    SMALL,
    binary_rows,
    independent_score,
    parameters,
    random_machine,
    share_all_work,
)
from sklearn.base import clone
from sklearn.model_selection import train_test_split

from sklearn_helmholtz import HelmholtzMachine, _settings
from sklearn_helmholtz._data import Rows
from sklearn_helmholtz._directions import Plain
from sklearn_helmholtz._fitted import new_state
from sklearn_helmholtz._learning_rules import (
    LEARNING_RULES,
    Lane,
    ReweightedWakeSleep,
    WakeSleep,
)
from sklearn_helmholtz._optimizers import SCHEDULES, SGD
from sklearn_helmholtz._parallel import run_in_turn
from sklearn_helmholtz._penalties import Fixed
from sklearn_helmholtz._phases import Regression
from sklearn_helmholtz._random import make_generators
from sklearn_helmholtz._training import Step, epochs, minibatches
from sklearn_helmholtz._watch import Watch

# ------------------------------------------------------------------ one step


class GivenRegression:
    """A rule whose residual is the row itself, its parent the row's first half."""

    shares_weights = False

    def lanes(self, n_rows):
        halves = slice(0, n_rows // 2), slice(n_rows // 2, n_rows)
        return [Lane((("wake", half),), ()) for half in halves]

    def wake(self, machine, x, rng, scratch, weight):
        squares = None
        if not machine.generative[0].units.binary:
            squares = weight * np.square(x).sum(axis=0)
        yield Regression("generative", 0, x[:, :2].copy(), x * weight, squares)


def make_step(machine, X, rule, **settings):
    state = new_state(machine, SGD(0.0), Plain, make_generators(0, 3))
    settings = {
        "resample": False,
        "penalty": Fixed(0.0),
    } | settings
    return Step(
        state,
        Rows(X),
        rule=rule,
        direction=Plain(),
        optimizer=SGD(0.0),
        **settings,
    )


@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize("index", [slice(3, 12), np.array([5, 0, 17, 2, 2])])
def test_step_is_the_rate_times_the_mean_gradient_of_its_rows(index, penalty):
    X = np.random.default_rng(1).random((20, 4))
    machine = random_machine((4, 2, 3))
    before = pickle.loads(pickle.dumps(machine))
    make_step(machine, X, GivenRegression(), penalty=Fixed(penalty))(
        index, 0.7, run_in_turn
    )
    rows = X[index]
    gradient = np.mean([np.outer(x[:2], x) for x in rows], axis=0)
    gradient -= penalty * before.generative[0].weights
    taught, bias = machine.generative[0][:2]
    np.testing.assert_allclose(taught, before.generative[0].weights + 0.7 * gradient)
    # Biases carry no penalty.
    np.testing.assert_allclose(
        bias, before.generative[0].bias + 0.7 * rows.mean(axis=0)
    )
    # Layers that nothing teaches stay.
    for layer, old in zip(machine.recognition, before.recognition, strict=True):
        np.testing.assert_array_equal(layer.weights, old.weights)
    np.testing.assert_array_equal(machine.generative[1].bias, before.generative[1].bias)


@pytest.mark.parametrize("rule", LEARNING_RULES)
@pytest.mark.parametrize("lateral", [False, True])
def test_a_penalty_takes_its_part_of_every_weight_once(rule, lateral):
    after = []
    for penalty in (0.0, 0.3):
        machine = random_machine((4, 3), lateral=lateral)
        if LEARNING_RULES[rule].shares_weights:
            machine.recognition[0].weights[...] = machine.generative[0].weights.T
        before = pickle.loads(pickle.dumps(machine))
        chosen = LEARNING_RULES[rule](2, 0.5, 0.5)
        step = make_step(machine, binary_rows(8, 4), chosen, penalty=Fixed(penalty))
        step(slice(0, 8), 0.1, run_in_turn)
        after.append(machine)
    for network in ("generative", "recognition", "lateral")[: 2 + lateral]:
        weights = getattr(before, network)[0].weights
        free, pulled = (getattr(each, network)[0].weights for each in after)
        np.testing.assert_allclose(pulled - free, -0.1 * 0.3 * weights)


@pytest.mark.parametrize("wake_share", [0.0, 0.5])
@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_steps_know_nothing_of_the_rows_before(rule, wake_share):
    """One row has other lanes than many, where each takes half of the rows."""
    X, found = binary_rows(17, 4), []
    for anew in (False, True):
        machine = random_machine((4, 3))
        given = machine, X, LEARNING_RULES[rule](2, wake_share, 0.5)
        step = make_step(*given)
        for rows in (slice(0, 8), slice(8, 9), slice(9, 17)):
            if anew:
                streams = step.streams
                step = make_step(*given)
                step.streams = streams
            step(rows, 0.1, run_in_turn)
        found.append(np.concatenate([array.ravel() for array in machine.arrays()]))
    np.testing.assert_array_equal(*found)


def last_first(calls):
    """Return the results of calls run one after another, the last one first."""
    return run_in_turn(calls[::-1])[::-1]


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("n_particles", [1, 2])
@pytest.mark.parametrize("wake_share", [0.0, 0.5])
@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_lanes_may_run_in_any_order(rule, wake_share, n_particles, gaussian):
    """No lane changes a network that another one has yet to read."""
    found = []
    for run in (run_in_turn, last_first):
        machine = random_machine((4, 3, 2), gaussian=gaussian)
        chosen = LEARNING_RULES[rule](n_particles, wake_share, 0.5)
        step = make_step(machine, binary_rows(9, 4), chosen)
        for _ in range(2):
            step(slice(0, 9), 0.1, run)
        found.append(np.concatenate([array.ravel() for array in machine.arrays()]))
    np.testing.assert_array_equal(*found)


class Overlapping(WakeSleep):
    """Wake-sleep whose wake lane runs while the sleep lane is at its regressions."""

    def sleep(self, *args):
        for regression in super().sleep(*args):
            yield regression
            if self.wake_lane is not None:
                self.squares, self.wake_lane = self.wake_lane(), None

    def run(self, calls):
        self.wake_lane, sleep_lane = calls
        found = sleep_lane()
        return [self.squares, found]


@pytest.mark.parametrize(
    ("order", "taken"),
    [
        ("in turn", ["recognition"]),
        ("last first", ["generative"]),
        ("overlapping", ["generative", "recognition"]),
    ],
)
def test_a_lane_takes_its_steps_where_the_others_have_read(order, taken):
    machine, rule = random_machine((4, 3)), Overlapping(1, 0.0, 1.0)
    rule.wake_lane = None
    runs = {"in turn": run_in_turn, "last first": last_first, "overlapping": rule.run}
    start, after_lanes = pickle.loads(pickle.dumps(machine)), []

    def run(calls):
        found = runs[order](calls)
        after_lanes.append(pickle.loads(pickle.dumps(machine)))
        return found

    def changed(before, after):
        return [
            network
            for network in ("generative", "recognition")
            if (
                getattr(before, network)[0].bias != getattr(after, network)[0].bias
            ).any()
        ]

    make_step(machine, binary_rows(8, 4), rule)(slice(0, 8), 0.1, run)
    assert changed(start, after_lanes[0]) == taken
    # The others follow, once.
    rest = [name for name in ("generative", "recognition") if name not in taken]
    assert changed(after_lanes[0], machine) == rest


def test_variance_moves_towards_the_mean_squares_of_all_lanes_and_a_row_more():
    X = np.random.default_rng(1).normal(0, 3, (20, 4))
    machine = random_machine((4, 2), gaussian=True)
    before = machine.generative[0].units.variance.copy()
    make_step(machine, X, GivenRegression())(slice(0, 20), 1e-6, run_in_turn)
    moved = machine.generative[0].units.variance - before
    target = (np.square(X).sum(axis=0) + 1) / 21 - before
    np.testing.assert_allclose(moved / target, (moved / target)[0])
    assert 0 < (moved / target)[0] < 1


@pytest.mark.parametrize("n_particles", [1, 3])
def test_no_unit_sees_itself_or_one_after_it(n_particles):
    machine = random_machine((4, 5, 3), lateral=True)
    before = [layer.weights.copy() for layer in machine.lateral]
    step = make_step(
        machine,
        binary_rows(20, 4),
        ReweightedWakeSleep(n_particles, 1.0, 1.0),
        penalty=Fixed(0.1),
    )
    step(slice(0, 20), 0.5, run_in_turn)
    for layer, old in zip(machine.lateral, before, strict=True):
        assert not np.tril(layer.weights).any()
        assert (np.triu(layer.weights, 1) != np.triu(old, 1)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e12])
def test_state_is_sound_only_where_every_parameter_is(bad):
    def state():
        machine = random_machine((4, 2, 3), gaussian=True, lateral=True)
        return new_state(machine, SGD(0.0), Plain, make_generators(0, 3))

    assert state().is_sound()
    networks = state().machine
    n_arrays = [len(network) for network in networks]
    for network, n_layers in enumerate(n_arrays):
        for level in range(n_layers):
            broken = state()
            broken.machine[network][level].bias[-1] = bad
            assert not broken.is_sound()
    broken = state()
    broken.machine.generative[0].units.variance[1] = bad
    assert not broken.is_sound()


# ---------------------------------------------------------------------- epochs


@pytest.mark.parametrize(
    ("n_rows", "size"), [(1, 5), (10, 5), (11, 5), (12, 100), (301, 100)]
)
def test_minibatches_take_every_row_once(n_rows, size):
    plain = np.concatenate([np.arange(n_rows)[i] for i in minibatches(n_rows, size)])
    np.testing.assert_array_equal(plain, np.arange(n_rows))
    rng = np.random.default_rng(0)
    orders = [np.concatenate(list(minibatches(n_rows, size, rng))) for _ in range(2)]
    for order in orders:
        assert sorted(order) == list(range(n_rows))
    assert n_rows == 1 or not np.array_equal(*orders)
    sizes = [len(i) for i in minibatches(n_rows, size, rng)]
    assert len(sizes) == -(-n_rows // size)
    assert max(sizes) <= min(size, min(sizes) + 1)


def test_rates_follow_the_schedule_by_steps_and_epochs():
    seen = []

    class Recorder:
        rows = SimpleNamespace(n_rows=10)
        state = SimpleNamespace(generators=[np.random.default_rng(0)])

        def __call__(self, index, rate, run):
            seen.append(rate)

    for name, expected in {
        "linear": 1 - np.arange(6) / 6,
        "constant": np.ones(6),
        "invscaling": np.repeat([1, 1 / np.sqrt(2), 1 / np.sqrt(3)], 2),
    }.items():
        seen.clear()
        trainer = epochs(
            Recorder(),
            n_epochs=3,
            batch_size=5,
            shuffle=True,
            learning_rate=SCHEDULES[name],
            run=run_in_turn,
        )
        assert len(list(trainer)) == 3
        np.testing.assert_allclose(seen, expected)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", ["binary", "gaussian"])
def test_curves_are_free_energies_of_the_rows_they_name(early_stopping, kind):
    X = binary_rows()
    if kind == "gaussian":  # in the units of the data, as scores are
        X = 50 * X + np.random.default_rng(0).normal(size=X.shape)
    machine = HelmholtzMachine(
        early_stopping=early_stopping, n_score_samples=1, **SMALL
    ).fit(X)
    if early_stopping:
        _, X = train_test_split(X, test_size=0.1, random_state=0)
        curve = min(machine.validation_free_energy_curve_)
    else:
        curve = machine.free_energy_curve_[-1]
    assert -machine.score(X) == pytest.approx(curve, rel=1e-12)


def interrupt_at(monkeypatch, n_steps):
    """Interrupt training, as Ctrl-C would, in the middle of some step."""
    original, done = Step.__call__, []

    def interrupted(self, *arguments):
        done.append(1)
        original(self, *arguments)
        if len(done) == n_steps:
            raise KeyboardInterrupt

    monkeypatch.setattr(Step, "__call__", interrupted)


def test_interrupt_within_an_epoch_keeps_the_last_whole_one(monkeypatch):
    X = binary_rows()
    settings = SMALL | {"learning_rate_schedule": "constant"}
    one = HelmholtzMachine(**settings | {"max_iter": 1}).fit(X)
    interrupt_at(monkeypatch, n_steps=5)  # three steps an epoch
    with pytest.warns(UserWarning, match="interrupted"):
        machine = HelmholtzMachine(**settings).fit(X)
    assert machine.n_iter_ == len(machine.free_energy_curve_) == 1
    np.testing.assert_array_equal(parameters(machine), parameters(one))


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_interrupt_before_an_epoch_is_done_changes_nothing(method, fitted, monkeypatch):
    X = binary_rows()
    machine = HelmholtzMachine(**SMALL)
    if fitted:
        machine.fit(X)
    before = dict(vars(machine))
    weights = parameters(machine) if fitted else None
    interrupt_at(monkeypatch, n_steps=2)
    with pytest.raises(KeyboardInterrupt):
        getattr(machine, method)(X)
    assert vars(machine) == before
    if fitted:
        np.testing.assert_array_equal(parameters(machine), weights)


# ------------------------------------------------------------- shared weights


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("direction", ["plain", "centred"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weights_that_are_shared_stay_the_same(visible, direction, optimizer):
    X = binary_rows()
    machine = HelmholtzMachine(
        learning_rule="contrastive-divergence",
        visible=visible,
        direction=direction,
        optimizer=optimizer,
        learning_rate=0.01,
        alpha=1e-3,
        lateral=True,
        **SMALL,
    ).fit(X)
    before = parameters(machine)
    machine.partial_fit(X)
    assert not np.array_equal(before, parameters(machine))
    pairs = zip(machine.generative_coefs_, machine.recognition_coefs_, strict=True)
    for down, up in pairs:
        np.testing.assert_array_equal(down, up.T)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({}, 1.0),
        ({"direction": "plain"}, 0.1),
        ({"direction": "natural"}, 0.03),
        ({"learning_rule": "contrastive-divergence"}, 0.5),
        ({"optimizer": "adam", "direction": "plain"}, 0.001),
    ],
    ids=str,
)
def test_auto_is_the_rate_that_the_docstring_names(settings, rate):
    X = binary_rows()
    auto = HelmholtzMachine(**SMALL, **settings).fit(X).partial_fit(X)
    named = HelmholtzMachine(learning_rate=rate, **SMALL, **settings)
    named.fit(X).partial_fit(X)
    np.testing.assert_array_equal(parameters(auto), parameters(named))


@pytest.mark.parametrize(
    ("settings", "fitted", "streamed"),
    [
        ({"momentum": 0.5}, 1.0, 1.0),
        ({"momentum": 0.95}, 0.5, 0.5),
        ({"batch_size": 400}, 1.0, 1.0),
        ({"batch_size": 20}, 1.0, 0.2),
        ({"batch_size": 20, "momentum": 0.95}, 0.5, 0.1),
        ({"batch_size": 20, "learning_rate_schedule": "constant"}, 0.2, 0.2),
        ({"batch_size": 20, "learning_rate": 0.7}, 0.7, 0.7),
        ({"batch_size": 20, "optimizer": "adam"}, 0.001, 0.001),
        ({"batch_size": 2}, 0.4, 0.02),
        ({"batch_size": 5, "direction": "natural"}, 0.015, 0.0015),
        ({"batch_size": 1, "direction": "plain"}, 0.1, 0.001),
    ],
    ids=str,
)
def test_auto_rates_leave_no_more_noise_than_the_usual_ones(settings, fitted, streamed):
    machine = HelmholtzMachine(**settings)
    assert machine._rate(1000) == pytest.approx(fitted)
    assert machine._rate() == pytest.approx(streamed)


def test_few_rows_and_few_in_a_minibatch_take_the_smaller_rate_of_both():
    machine = HelmholtzMachine(batch_size=1)
    assert machine._rate(10) == pytest.approx((10 / 40) ** 2)
    assert machine._rate(30) == pytest.approx(1 / 5)


@pytest.mark.parametrize("batch_size", [2, 10, 100])
def test_streams_are_learned_as_well_in_small_minibatches(batch_size):
    """Against independent columns; at the rate of 100 rows, ten of them cost 8 nats."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2500, 3)) @ rng.normal(size=(3, 20))
    X += 0.5 * rng.normal(size=X.shape)
    train, test = X[:2000], X[2000:]
    machine = HelmholtzMachine((30, 15), batch_size=batch_size, random_state=0)
    for _ in range(4):
        machine.partial_fit(train)
    assert machine.score(test) > independent_score(train, test) + 3
    dreams = machine.sample(2000, random_state=0)
    off = np.abs(dreams.mean(axis=0) - train.mean(axis=0)) / train.std(axis=0)
    assert off.max() < 0.7


@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_auto_is_the_penalty_that_the_docstring_names(rule, monkeypatch):
    monkeypatch.setattr(_settings, "share_of_evidence", lambda machine, n_rows: 1.0)
    X = binary_rows()
    penalty = 3e-4 if rule == "contrastive-divergence" else "evidence"
    auto, named, other = (
        HelmholtzMachine(learning_rule=rule, alpha=alpha, **SMALL).fit(X)
        for alpha in ("auto", penalty, 0.1)
    )
    np.testing.assert_array_equal(parameters(auto), parameters(named))
    assert not np.array_equal(parameters(auto), parameters(other))


@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_grey_rows_are_drawn_but_for_contrastive_divergence(rule):
    X = np.random.default_rng(0).random((50, 9))
    auto, drawn, grey = (
        HelmholtzMachine(learning_rule=rule, resample=resample, **SMALL).fit(X)
        for resample in ("auto", True, False)
    )
    same = grey if rule == "contrastive-divergence" else drawn
    np.testing.assert_array_equal(parameters(auto), parameters(same))
    assert not np.array_equal(parameters(drawn), parameters(grey))


def test_natural_direction_refuses_to_share_weights():
    X = binary_rows()
    rule = "contrastive-divergence"
    machine = HelmholtzMachine(learning_rule=rule, **SMALL).fit(X)
    machine.set_params(direction="natural")
    before = parameters(machine)
    for method in (machine.fit, machine.partial_fit):
        with pytest.raises(ValueError, match="direction='natural'"):
            method(X)
        np.testing.assert_array_equal(parameters(machine), before)


# ------------------------------------------------------ same seed, same weights


@pytest.mark.parametrize("rule", LEARNING_RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_depend_on_the_seed_and_not_on_the_threads(rule, dtype, monkeypatch):
    X = binary_rows(dtype=dtype)

    def fit(n_jobs):
        return HelmholtzMachine(learning_rule=rule, n_jobs=n_jobs, **SMALL).fit(X)

    in_few_calls = rule == "wake-sleep"  # for other draws, and so other weights
    fits = [fit(n_jobs) for n_jobs in (1, 2, None)]
    check_same(fits, X)
    share_all_work(monkeypatch)
    check_same([*fits[in_few_calls * 3 :], *map(fit, (1, 2, 3, None))], X)


@pytest.mark.parametrize("locked", [True, False])
def test_particles_share_threads_sooner_where_python_has_no_lock(locked, monkeypatch):
    """But not one particle's: wake-sleep's draws depend on which steps are small."""
    monkeypatch.setattr("sklearn_helmholtz._settings.has_lock", lambda: locked)
    X = binary_rows(200, 64, np.float32)

    def is_small(batch_size=100, **rule):
        machine = HelmholtzMachine((200, 100), batch_size=batch_size, **rule)
        machine.partial_fit(X)
        return machine._step(machine._last_state(), machine._checked_rows(X)).small

    assert is_small(n_particles=5) == locked
    assert is_small(n_particles=5, batch_size=1)
    assert is_small(learning_rule="wake-sleep", batch_size=50)
    assert not is_small(learning_rule="wake-sleep", batch_size=200)


def check_same(fits, X):
    """Assert that all machines have the weights, codes and dreams of the first."""
    for machine in fits[1:]:
        np.testing.assert_array_equal(parameters(machine), parameters(fits[0]))
        np.testing.assert_array_equal(machine.transform(X), fits[0].transform(X))
        np.testing.assert_array_equal(
            machine.sample(3000, random_state=1), fits[0].sample(3000, random_state=1)
        )
    other = clone(fits[0]).set_params(random_state=1).fit(X)
    assert not np.array_equal(parameters(other), parameters(fits[0]))


@pytest.mark.parametrize("far", [1.0, 100.0])
def test_momentum_ends_where_rows_surprise(far):
    X = np.random.default_rng(0).normal(size=(60, 5))
    machine = HelmholtzMachine(**SMALL).partial_fit(X).partial_fit(far * X)
    velocities = [
        velocity
        for layers in machine._memory.values()
        for memory in layers
        for velocity in memory["velocity"]
        if velocity.size
    ]
    assert all(velocity.any() == (far == 1) for velocity in velocities)


@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_one_pass_of_fit_equals_partial_fit(rule):
    X = binary_rows()
    settings = SMALL | {"max_iter": 1, "shuffle": False, "learning_rule": rule}
    settings["alpha"] = 0  # as a stream's visible biases have no prior
    one = HelmholtzMachine(learning_rate_schedule="constant", **settings).fit(X)
    other = HelmholtzMachine(**settings).partial_fit(X)
    np.testing.assert_array_equal(parameters(one), parameters(other))


@pytest.mark.parametrize("spread", [1.0, 3.0], ids=["bernoulli", "gaussian"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_partial_fit_in_pieces_equals_partial_fit_at_once(optimizer, spread):
    X = spread * binary_rows(300)
    start = HelmholtzMachine(batch_size=50, optimizer=optimizer, **SMALL).fit(X)
    whole, pieces = (pickle.loads(pickle.dumps(start)) for _ in range(2))
    whole.partial_fit(X)
    for first in (0, 100, 200):
        assert pieces.partial_fit(X[first : first + 100]) is pieces
    np.testing.assert_array_equal(parameters(whole), parameters(pieces))


@pytest.mark.parametrize("grey", [False, True])
def test_resampling_is_for_grey_rows_alone(grey):
    X = binary_rows() * (0.5 if grey else 1.0)
    one, other = (
        HelmholtzMachine(resample=resample, **SMALL).fit(X)
        for resample in (False, True)
    )
    assert np.array_equal(parameters(one), parameters(other)) == (not grey)


def test_resampled_bits_have_the_grey_values_as_means(monkeypatch):
    X = np.tile([0.0, 0.1, 0.5, 0.9, 1.0], (4000, 1)).astype(np.float32)
    seen = []
    load = Step.load

    def watched(self, *arguments):
        x = load(self, *arguments)
        seen.append(x.copy())
        return x

    monkeypatch.setattr(Step, "load", watched)
    HelmholtzMachine((2,), max_iter=5, random_state=0).fit(X)
    bits = np.concatenate(seen)
    assert set(np.unique(bits)) == {0.0, 1.0}
    p = X[0].astype(float)
    # Level: |z| < 4.5; exactly where a value is 0 or 1.
    error = 4.5 * np.sqrt(p * (1 - p) / len(bits))
    assert (np.abs(bits.mean(axis=0, dtype=float) - p) <= error).all()
    assert not np.array_equal(seen[0], seen[40])


# ------------------------------------------------------------ the state to keep


def watched():
    machine = random_machine((4, 3, 2), gaussian=True)
    state = new_state(machine, SGD(0.9), Plain, make_generators(0, 3))
    return Watch(state, keep_best=False, tol=0.0, patience=None, most_epochs=9)


def contents(state):
    return [array.copy() for array in state.machine.arrays()]


def spoil(state):
    for array in state.machine.arrays():
        array += 1


def test_kept_state_is_that_of_the_last_epoch_whatever_happens_in_the_next():
    watch = watched()
    for _ in range(3):
        expected = contents(watch.state)
        watch.secure()
        assert watch.kept is not watch.state
        spoil(watch.state)
        for found, array in zip(contents(watch.kept), expected, strict=True):
            np.testing.assert_array_equal(found, array)
        watch.record(lambda: (1.0, None))
        assert watch.kept is watch.state
    # A copy, too, is left alone by what comes later.
    copy = watch.copy()
    expected = contents(copy.kept)
    watch.secure()
    spoil(watch.state)
    assert copy.kept is copy.state
    for found, array in zip(contents(copy.kept), expected, strict=True):
        np.testing.assert_array_equal(found, array)


def test_interrupt_while_the_state_is_copied_keeps_the_state_itself(monkeypatch):
    watch = watched()
    watch.secure()
    spoil(watch.state)
    watch.record(lambda: (1.0, None))
    expected = contents(watch.state)
    copied, copyto = [], np.copyto

    def interrupted(mine, theirs):
        copyto(mine, theirs)
        copied.append(mine)
        if len(copied) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(np, "copyto", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watch.secure()
    for found, array in zip(contents(watch.kept), expected, strict=True):
        np.testing.assert_array_equal(found, array)


def test_optimiser_starts_anew_where_an_epoch_was_broken_off(monkeypatch):
    def velocities(machine):
        layers = [layer for network in machine._memory.values() for layer in network]
        return np.concatenate([v.ravel() for one in layers for v in one["velocity"]])

    X = binary_rows()
    assert velocities(HelmholtzMachine(**SMALL).fit(X)).any()
    interrupt_at(monkeypatch, n_steps=5)  # three steps an epoch
    with pytest.warns(UserWarning, match="interrupted"):
        machine = HelmholtzMachine(**SMALL).fit(X)
    assert not velocities(machine).any()
    monkeypatch.undo()
    assert np.isfinite(machine.partial_fit(X).score(X))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("rule", LEARNING_RULES)
def test_training_goes_on_from_weights_in_either_order(rule, optimizer):
    """A transpose, say, that somebody has set."""
    X = binary_rows()
    settings = SMALL | {"learning_rule": rule, "optimizer": optimizer}
    rows, columns = (HelmholtzMachine(**settings).fit(X) for _ in range(2))
    for name in ("generative_coefs_", "recognition_coefs_"):
        weights = [np.asfortranarray(array) for array in getattr(columns, name)]
        setattr(columns, name, weights)
    for machine in (rows, columns):
        machine.set_params(warm_start=True).fit(X).partial_fit(X)
    np.testing.assert_array_equal(parameters(columns), parameters(rows))
