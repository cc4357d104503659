"""Displays: what they draw is what the machine says, on the axes they are given."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit
from scipy.stats import chisquare

from sklearn_helmholtz import (
    FreeEnergyDisplay,
    HelmholtzMachine,
    ReconstructionDisplay,
    SamplesDisplay,
    WeightsDisplay,
)

mpl.use("Agg")
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).integers(0, 2, (60, 6)).astype(float)


@pytest.fixture(scope="module")
def machine(X):
    return HelmholtzMachine((5, 3, 2), max_iter=3, random_state=0).fit(X)


def cells(display, n_images, height, width):
    """Return the drawn grid's images, read back from the artist's array."""
    array = display.image_.get_array()
    n_columns = (array.shape[1] + 1) // (width + 1)
    found = []
    for place in range(n_images):
        row, column = divmod(place, n_columns)
        top, left = row * (height + 1), column * (width + 1)
        found.append(array[top : top + height, left : left + width])
    return np.ma.array(found)


def draw_each(machine, X, ax=None):
    """Return one display of every kind."""
    return [
        FreeEnergyDisplay.from_estimator(machine, ax=ax),
        WeightsDisplay.from_estimator(machine, ax=ax),
        SamplesDisplay.from_estimator(machine, ax=ax, random_state=0),
        ReconstructionDisplay.from_estimator(machine, X[:4], ax=ax),
    ]


def test_displays_draw_on_the_axes_given_and_else_on_new_ones(machine, X):
    figure, ax = plt.subplots()
    for display in draw_each(machine, X, ax):
        assert display.ax_ is ax
        assert display.figure_ is figure
    fresh = draw_each(machine, X)
    assert len({id(display.ax_) for display in fresh}) == len(fresh)


def test_displays_draw_again_elsewhere(machine, X):
    for display in draw_each(machine, X):
        first, (_, ax) = display.ax_, plt.subplots()
        assert display.plot(ax=ax) is display
        assert display.ax_ is ax is not first


def test_free_energy_lines_are_the_curves(X):
    machine = HelmholtzMachine((3,), max_iter=4, early_stopping=True, random_state=0)
    display = FreeEnergyDisplay.from_estimator(machine.fit(X), linestyle="--")
    for line, curve in [
        (display.training_line_, machine.free_energy_curve_),
        (display.validation_line_, machine.validation_free_energy_curve_),
    ]:
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_array_equal(line.get_ydata(), curve)
        assert line.get_linestyle() == "--"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["training", "validation"]


def test_free_energy_without_validation_has_one_line(machine):
    display = FreeEnergyDisplay.from_estimator(machine)
    assert display.validation_line_ is None
    assert list(display.ax_.lines) == [display.training_line_]


@pytest.mark.parametrize("network", ["generative", "recognition"])
@pytest.mark.parametrize("layer", [0, 1, 2, -1])
def test_fields_are_products_of_the_weights_in_between(machine, network, layer):
    coefs = getattr(machine, f"{network}_coefs_")[: layer % 3 + 1]
    down = coefs[::-1] if network == "generative" else coefs
    expected = down[0] if len(down) == 1 else np.linalg.multi_dot(down)
    if network == "recognition":
        expected = expected.T
    display = WeightsDisplay.from_estimator(
        machine, network=network, layer=layer, image_shape=(2, 3)
    )
    drawn = cells(display, len(expected), 2, 3)
    np.testing.assert_allclose(drawn, expected.reshape(-1, 2, 3), atol=1e-12)
    low, high = display.image_.get_clim()
    assert low == -high
    assert high == pytest.approx(np.abs(expected).max())


@pytest.mark.parametrize("units", [3, [3], slice(3, 4), np.array([3])])
def test_one_units_field(machine, units):
    display = WeightsDisplay.from_estimator(machine, units=units)
    drawn = cells(display, 1, 1, 6)
    np.testing.assert_array_equal(drawn[0, 0], machine.components_[3])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"network": "lateral"}, "network must be"),
        ({"layer": 3}, "not the index of a hidden layer"),
        ({"image_shape": (2, 2)}, "4 pixels, but there are 6"),
    ],
)
def test_weights_display_says_what_is_wrong(machine, wrong, message):
    with pytest.raises(ValueError, match=message):
        WeightsDisplay.from_estimator(machine, **wrong)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("mean", [True, False])
def test_dreams_are_those_of_sample(X, visible, mean):
    machine = HelmholtzMachine((4, 2), visible=visible, max_iter=2, random_state=0)
    machine.fit(X)
    display = SamplesDisplay.from_estimator(
        machine, n_samples=7, mean=mean, random_state=5, image_shape=(3, 2)
    )
    expected = machine.sample(7, mean=mean, random_state=5)
    np.testing.assert_allclose(
        cells(display, 7, 3, 2), expected.reshape(7, 3, 2), rtol=1e-6, atol=1e-12
    )


@pytest.mark.filterwarnings("error")
def test_dreams_of_extreme_logits_are_drawn_silently():
    X = np.repeat(np.eye(6, dtype=np.float32), 30, axis=0)
    machine = HelmholtzMachine((12,), max_iter=2, random_state=0).fit(X)
    machine.generative_coefs_ = [
        1e3 * np.sign(weights - 0.1) for weights in machine.generative_coefs_
    ]
    for mean in (False, True):
        SamplesDisplay.from_estimator(machine, chain_length=3, mean=mean)
        plt.close("all")


def test_chains_begin_with_the_dreams_and_fill_a_line_each(machine):
    chains = SamplesDisplay.from_estimator(
        machine, n_samples=4, chain_length=3, random_state=1
    )
    alone = SamplesDisplay.from_estimator(machine, n_samples=4, random_state=1)
    assert len(chains.images) == 12
    np.testing.assert_array_equal(chains.images[::3], alone.images)
    assert chains.image_.get_array().shape == (4 * 2 - 1, 3 * 7 - 1)


def see_the_first(machine):
    """Let the second visible unit see the first, and recognition make up for it."""
    seen = 1.3
    machine.autoregressive_coef_ = np.array([[0, seen], [0, 0]])
    machine.autoregressive_intercept_ = np.zeros(2)
    weight = machine.generative_coefs_[0][0, 1]
    bias = machine.generative_intercepts_[0][1]
    # The second unit's normaliser depends on the first, which takes two values.
    ends = bias + seen * np.arange(2)
    normaliser = np.logaddexp(0, weight + ends) - np.logaddexp(0, ends)
    machine.recognition_coefs_[0][0] -= normaliser[1] - normaliser[0]


@pytest.mark.parametrize("kind", ["lateral", "autoregressive", None])
def test_chain_of_exact_recognition_keeps_the_machines_distribution(kind):
    """With one unit a layer q can be the posterior: chi-square at level 0.001."""
    settings = {kind: True} if kind else {}
    machine = HelmholtzMachine((1, 1), max_iter=1, random_state=0, **settings)
    machine.fit(np.random.default_rng(0).integers(0, 2, (50, 2)).astype(float))
    down = [np.array([[2.0, -1.5]]), np.array([[1.8]])]
    biases = [np.array([-0.7, 0.4]), np.array([-0.5]), np.array([0.3])]
    machine.generative_coefs_, machine.generative_intercepts_ = down, biases
    softplus = [
        np.logaddexp(0, weights + bias) - np.logaddexp(0, bias)
        for weights, bias in zip(down, biases[:2], strict=True)
    ]
    machine.recognition_coefs_ = [weights.T.copy() for weights in down]
    # q(s | x) under the marginal prior of s, then q(t | s).
    on = expit(biases[2][0])
    chance = on * expit(1.8 - 0.5) + (1 - on) * expit(-0.5)
    machine.recognition_intercepts_ = [
        np.log(chance / (1 - chance)) - softplus[0].sum(axis=1),
        biases[2] - softplus[1].sum(axis=1),
    ]
    if kind == "autoregressive":
        see_the_first(machine)
    n_chains, length = 4000, 4
    display = SamplesDisplay.from_estimator(
        machine, n_samples=n_chains, chain_length=length, mean=False, random_state=0
    )
    last = np.asarray(display.images).reshape(n_chains, length, 2)[:, -1]
    seen = np.bincount((last @ [2, 1]).astype(int), minlength=4)
    table = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    expected = n_chains * np.exp(machine.exact_log_likelihood(table))
    assert chisquare(seen, expected).pvalue > 1e-3


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_reconstructions_stand_below_their_rows(machine, X, form):
    display = ReconstructionDisplay.from_estimator(
        machine, form(X[:7]), n_columns=5, image_shape=(2, 3)
    )
    drawn = cells(display, 20, 2, 3).reshape(4, 5, 6)
    rebuilt = machine.reconstruct(X[:7])
    np.testing.assert_array_equal(drawn[0], X[:5])
    np.testing.assert_allclose(drawn[1], rebuilt[:5])
    np.testing.assert_array_equal(drawn[2, :2], X[5:7])
    np.testing.assert_allclose(drawn[3, :2], rebuilt[5:])
    assert display.image_.get_clim() == (0, 1)


def test_without_matplotlib_a_display_says_what_to_install(machine, X, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"sklearn-helmholtz\[plot\]"):
        SamplesDisplay.from_estimator(machine)


def test_package_imports_without_matplotlib():
    code = "import sys, sklearn_helmholtz; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
