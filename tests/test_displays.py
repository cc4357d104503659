"""Displays: what they draw is what the machine says, on the axes they are given."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit
from scipy.stats import chisquare
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from sklearn_helmholtz import (
    FreeEnergyDisplay,
    HelmholtzClassifier,
    HelmholtzMachine,
    ReconstructionDisplay,
    SamplesDisplay,
    WeightsDisplay,
)

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm


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


def test_free_energy_is_not_drawn_where_partial_fit_kept_none(X):
    machine = HelmholtzMachine((3,), random_state=0).partial_fit(X)
    with pytest.raises(ValueError, match="no curve: partial_fit"):
        FreeEnergyDisplay.from_estimator(machine)


def test_free_energy_is_not_drawn_where_the_first_epoch_diverged(X):
    settings = {"visible": "gaussian", "learning_rate": 1e6, "batch_size": 2}
    machine = HelmholtzMachine((3,), max_iter=3, random_state=0, **settings)
    with pytest.warns(ConvergenceWarning):
        machine.fit(10 * X)
    with pytest.raises(ValueError, match="no curve: the fit diverged"):
        FreeEnergyDisplay.from_estimator(machine)


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


@pytest.mark.parametrize("units", [3, [3], (3,), -2, slice(3, 4), np.array([3])])
def test_one_units_field(machine, units):
    display = WeightsDisplay.from_estimator(machine, units=units)
    drawn = cells(display, 1, 1, 6)
    np.testing.assert_array_equal(drawn[0, 0], machine.components_[3])


def test_units_may_be_several_and_in_any_order(machine):
    for units in ([4, 0], (4, 0), slice(4, None, -4), np.array([-1, 0])):
        display = WeightsDisplay.from_estimator(machine, units=units)
        np.testing.assert_array_equal(display.images[:, 0], machine.components_[[4, 0]])
    mask = np.arange(5) % 2 == 0
    display = WeightsDisplay.from_estimator(machine, units=mask)
    np.testing.assert_array_equal(display.images[:, 0], machine.components_[::2])


# ---------------------------------------------------------------- what is refused

IMAGES = [WeightsDisplay, SamplesDisplay, ReconstructionDisplay]


def draw(display, machine, X, **settings):
    """Draw a display of a kind."""
    rows = (X[:4],) if display is ReconstructionDisplay else ()
    return display.from_estimator(machine, *rows, **settings)


@pytest.mark.parametrize("network", ["lateral", None, ["generative"]])
def test_network_is_one_of_two(machine, network):
    with pytest.raises(ValueError, match="network must be"):
        WeightsDisplay.from_estimator(machine, network=network)


@pytest.mark.parametrize("layer", [3, -4, "top", 0.5, 0.0, None])
def test_layer_is_the_index_of_a_hidden_one(machine, layer):
    message = "layer=.* is not the index of a hidden layer: an integer from -3 to 2"
    with pytest.raises(ValueError, match=message):
        WeightsDisplay.from_estimator(machine, layer=layer)


@pytest.mark.parametrize(
    "units",
    [[], slice(0), 5, [0, -6], 0.5, [1.0], "all", [[0], [1]], [[0], [1, 2]], True],
    ids=repr,
)
def test_units_are_some_of_the_layers(machine, units):
    with pytest.raises(ValueError, match=r"units must be .* 5 units, got"):
        WeightsDisplay.from_estimator(machine, units=units)


@pytest.mark.parametrize("display", IMAGES)
@pytest.mark.parametrize(
    "shape", [6, (6,), (1, 2, 3), (2.0, 3), (-2, -3), "23", (0, 6)]
)
def test_image_shape_is_two_positive_integers(machine, X, display, shape):
    with pytest.raises(ValueError, match="image_shape must be two positive integers"):
        draw(display, machine, X, image_shape=shape)


@pytest.mark.parametrize("display", IMAGES)
def test_image_shape_has_a_pixel_a_feature(machine, X, display):
    with pytest.raises(ValueError, match="4 pixels, but there are 6"):
        draw(display, machine, X, image_shape=(2, 2))


@pytest.mark.parametrize("display", IMAGES)
@pytest.mark.parametrize("n_columns", [0, -1, 2.5, "two"])
def test_columns_are_a_positive_integer(machine, X, display, n_columns):
    with pytest.raises(ValueError, match="n_columns must be a positive integer"):
        draw(display, machine, X, n_columns=n_columns)
    drawn = draw(display, machine, X)
    drawn.n_columns = n_columns
    with pytest.raises(ValueError, match="n_columns must be a positive integer"):
        drawn.plot()


@pytest.mark.parametrize("name", ["n_samples", "chain_length"])
@pytest.mark.parametrize("value", [0, -1, 1.5, None])
def test_dreams_are_counted_by_positive_integers(machine, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer"):
        SamplesDisplay.from_estimator(machine, **{name: value})


@pytest.mark.parametrize("display", [FreeEnergyDisplay, *IMAGES])
def test_only_machines_are_shown(machine, X, display):
    others = [
        HelmholtzClassifier(HelmholtzMachine((2,), max_iter=1)).fit(X, X[:, 0]),
        make_pipeline(HelmholtzMachine((2,), max_iter=1)).fit(X),
        X,
    ]
    for other in others:
        message = f"must be a HelmholtzMachine, got {type(other).__name__}"
        with pytest.raises(TypeError, match=message):
            draw(display, other, X)
    draw(display, FrozenEstimator(machine), X)


@pytest.mark.parametrize("shape", [(4, 6), (0, 2, 3), (4, 0, 3)])
def test_images_are_a_stack(shape):
    for display in IMAGES:
        with pytest.raises(ValueError, match="images must have shape"):
            display(np.zeros(shape)).plot()


# ------------------------------------------------------- dreams and reconstructions


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


@pytest.mark.parametrize("mean", [False, True])
def test_chain_goes_on_from_its_own_last_dream(mean):
    machine = HelmholtzMachine((1,), max_iter=1, random_state=0).fit(np.eye(2))
    # The unit decides what is seen, and recognition reads it off without a doubt.
    machine.generative_coefs_ = [np.array([[80.0, 80.0]])]
    machine.generative_intercepts_ = [np.full(2, -40.0), np.zeros(1)]
    machine.recognition_coefs_ = [np.array([[40.0], [40.0]])]
    machine.recognition_intercepts_ = [np.array([-40.0])]
    display = SamplesDisplay.from_estimator(
        machine, n_samples=20, chain_length=5, mean=mean, random_state=0
    )
    chains = np.round(display.images).reshape(20, 5, 2)
    np.testing.assert_array_equal(chains, np.repeat(chains[:, :1], 5, axis=1))
    assert 0 < chains.mean() < 1


def test_a_norm_takes_the_place_of_the_ends(machine, X):
    norm = LogNorm(0.01, 2)
    display = ReconstructionDisplay.from_estimator(machine, X, norm=norm)
    assert display.image_.norm is norm
    assert display.image_.get_clim() == (0.01, 2)


def test_numbers_in_words_are_shown_as_numbers(X):
    machine = HelmholtzMachine((3,), visible="gaussian", max_iter=2).fit(X)
    draw = ReconstructionDisplay.from_estimator
    np.testing.assert_array_equal(
        draw(machine, X.astype(str)).images, draw(machine, X).images
    )


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


@pytest.mark.parametrize(
    ("shape", "n_columns"), [((6, 1), 7), ((2, 3), 4), ((3, 2), 5), ((1, 6), 2)]
)
def test_none_makes_the_grid_about_square(machine, X, shape, n_columns):
    # Of fourteen images, two for each row; no more columns than rows of data.
    display = ReconstructionDisplay.from_estimator(
        machine, X[:7], n_columns=None, image_shape=shape
    )
    assert display.n_columns == n_columns
    lines = np.asarray(display.images).reshape(-1, 2, n_columns, 6)
    drawn = lines.swapaxes(0, 1).reshape(2, -1, 6)[:, :7]
    np.testing.assert_array_equal(drawn[0], X[:7])
    np.testing.assert_allclose(drawn[1], machine.reconstruct(X[:7]))


def test_without_matplotlib_a_display_says_what_to_install(machine, X, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"sklearn-helmholtz\[plot\]"):
        SamplesDisplay.from_estimator(machine)


def test_package_imports_without_matplotlib():
    code = "import sys, sklearn_helmholtz; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
