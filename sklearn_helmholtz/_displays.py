"""Pictures of a fitted machine, in the form of scikit-learn's displays.

A display holds numbers and draws them when asked to: `from_estimator` takes the
numbers from a machine and draws, `plot` draws them again elsewhere. Matplotlib
is imported when something is drawn, and only then.

Longer than most modules here, for its docstrings.
"""

import math
from numbers import Integral
from typing import Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._belief_network import Scratch, down_pass, up_pass
from ._fitted import machine_of
from ._input import positive
from ._parallel import workers
from ._random import Stream, make_generators


def _axes(ax, aspect=0.75):
    """Return the axes to draw on: the given ones, or new ones of an aspect."""
    try:
        from matplotlib import pyplot  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib: pip install 'sklearn-helmholtz[plot]'."
        ) from error
    if ax is not None:
        return ax
    width = 7.0
    size = width, min(max(width * aspect, 1.0), width)
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def _check_is_fitted_machine(estimator):
    """Raise unless the estimator is a fitted HelmholtzMachine, or acts as one."""
    if not hasattr(estimator, "sample_states"):
        raise TypeError(
            f"estimator must be a HelmholtzMachine, got {type(estimator).__name__}. "
            "That of a pipeline is its step, those of a HelmholtzClassifier are its "
            "estimators_."
        )
    check_is_fitted(estimator)


class FreeEnergyDisplay:
    """Free energy of training and validation rows, epoch by epoch.

    Parameters
    ----------
    training : array-like of shape (n_epochs,)
        Mean free energy of training rows after each epoch, in nats.

    validation : array-like of shape (n_epochs,), default=None
        The same of rows kept back.

    Attributes
    ----------
    training_line_ : matplotlib Line2D
        The training curve.

    validation_line_ : matplotlib Line2D or None
        The validation curve, if there is one.

    ax_ : matplotlib Axes
        The axes drawn on.

    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    HelmholtzMachine : Has the curves as fitted attributes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_helmholtz import FreeEnergyDisplay, HelmholtzMachine
    >>> X = load_digits().data / 16
    >>> machine = HelmholtzMachine(
    ...     (20,), early_stopping=True, max_iter=3, random_state=0
    ... ).fit(X)
    >>> display = FreeEnergyDisplay.from_estimator(machine)
    >>> display.ax_.get_xlabel()
    'epoch'
    """

    def __init__(self, training, validation=None) -> None:
        self.training = training
        self.validation = validation

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **line_kw) -> Self:
        """Draw the curves of a fitted machine.

        Parameters
        ----------
        estimator : HelmholtzMachine
            A fitted machine.

        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        **line_kw : dict
            Passed to matplotlib's `plot` for both lines.

        Returns
        -------
        display : FreeEnergyDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If `estimator` is no HelmholtzMachine.

        NotFittedError
            If the machine has not been fitted.

        ValueError
            If there is no curve: it has been trained by `partial_fit` alone, or
            diverged in its first epoch.
        """
        _check_is_fitted_machine(estimator)
        if not estimator.free_energy_curve_:
            if not estimator.n_iter_:
                raise ValueError(
                    "There is no curve: the fit diverged in its first epoch. Use a "
                    "smaller learning_rate."
                )
            raise ValueError(
                "There is no curve: partial_fit, by which alone this machine has been "
                "trained, takes no free energies. Keep `-machine.score(X)` after each "
                "call, and hand these to FreeEnergyDisplay."
            )
        validation = getattr(estimator, "validation_free_energy_curve_", None)
        display = cls(estimator.free_energy_curve_, validation)
        return display.plot(ax=ax, **line_kw)

    def plot(self, *, ax=None, **line_kw) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        **line_kw : dict
            Passed to matplotlib's `plot` for both lines.

        Returns
        -------
        display : FreeEnergyDisplay
            The display itself.
        """
        self.ax_ = _axes(ax)
        self.figure_ = self.ax_.figure
        self.training_line_ = self._line(self.training, "training", line_kw)
        self.validation_line_ = None
        if self.validation is not None:
            self.validation_line_ = self._line(self.validation, "validation", line_kw)
        self.ax_.set(xlabel="epoch", ylabel="free energy (nats a row)")
        self.ax_.legend()
        return self

    def _line(self, curve, label, line_kw):
        epochs = np.arange(1, len(curve) + 1)
        return self.ax_.plot(epochs, curve, **{"label": label, **line_kw})[0]


class _ImageGrid:
    """Images in a grid on one pair of axes; the displays below are such grids."""

    def __init__(
        self, images, *, n_columns=None, vmin=None, vmax=None, cmap="gray_r"
    ) -> None:
        self.images = images
        self.n_columns = n_columns
        self.vmin = vmin
        self.vmax = vmax
        self.cmap = cmap

    def plot(self, *, ax=None, **imshow_kw) -> Self:
        """Draw the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        **imshow_kw : dict
            Passed to matplotlib's `imshow`.

        Returns
        -------
        display : object
            The display itself.
        """
        mosaic = _mosaic(np.asarray(self.images), self.n_columns)
        self.ax_ = _axes(ax, mosaic.shape[0] / mosaic.shape[1])
        self.figure_ = self.ax_.figure
        looks = {"cmap": self.cmap}
        if "norm" not in imshow_kw:  # which has ends of its own
            looks |= {"vmin": self.vmin, "vmax": self.vmax}
        self.image_ = self.ax_.imshow(mosaic, **(looks | imshow_kw))
        # What is NaN shows the ground: lines between the images.
        self.ax_.set(xticks=[], yticks=[], facecolor="0.85")
        self.ax_.spines[:].set_visible(False)
        return self


def _mosaic(images, n_columns=None):
    """Return images side by side, row by row, a line of NaN between them.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width)
    n_columns : int or None
        None makes the grid about square.
    """
    if images.ndim != 3 or not images.size:
        raise ValueError(
            "images must have shape (n_images, height, width), none of them 0, got "
            f"{images.shape}."
        )
    n_images, height, width = images.shape
    n_columns = min(_columns(n_columns, *images.shape), n_images)
    n_rows = math.ceil(n_images / n_columns)
    shape = n_rows * (height + 1) - 1, n_columns * (width + 1) - 1
    mosaic = np.full(shape, np.nan)
    for place, image in enumerate(images):
        top, left = divmod(place, n_columns)
        top, left = top * (height + 1), left * (width + 1)
        mosaic[top : top + height, left : left + width] = image
    return mosaic


def _columns(n_columns, n_images, height, width):
    """Return the columns of a grid of images: those asked for, or about square."""
    if n_columns is None:
        return math.ceil(math.sqrt(n_images * height / width))
    return positive("n_columns", n_columns)


def _as_images(rows, image_shape):
    """Return rows as (n_rows, height, width): square where nothing else is said."""
    n_features = rows.shape[1]
    if image_shape is None:
        side = math.isqrt(n_features)
        image_shape = (side, side) if side * side == n_features else (1, n_features)
    sides = list(image_shape) if np.iterable(image_shape) else []
    if len(sides) != 2 or not all(isinstance(n, Integral) and n > 0 for n in sides):
        raise ValueError(
            "image_shape must be two positive integers, (height, width), got "
            f"{image_shape!r}."
        )
    if math.prod(sides) != n_features:
        raise ValueError(
            f"image_shape={image_shape} has {math.prod(sides)} pixels, but there are "
            f"{n_features} features."
        )
    return rows.reshape(-1, *sides)


class WeightsDisplay(_ImageGrid):
    """Fields of hidden units: their weights to or from the data, as images.

    Parameters
    ----------
    images : array-like of shape (n_units, height, width)
        A field a unit.

    n_columns : int, default=None
        Columns of the grid; None makes it about square.

    vmin, vmax : float, default=None
        Values at the ends of the colours; None takes those of the images.

    cmap : str or matplotlib Colormap, default="gray_r"
        Colours.

    Attributes
    ----------
    image_ : matplotlib AxesImage
        The grid.

    ax_ : matplotlib Axes
        The axes drawn on.

    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    SamplesDisplay : What the units together dream.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_helmholtz import HelmholtzMachine, WeightsDisplay
    >>> X = load_digits().data / 16
    >>> machine = HelmholtzMachine((20, 5), max_iter=3, random_state=0).fit(X)
    >>> display = WeightsDisplay.from_estimator(machine, layer=1)
    >>> display.images.shape
    (5, 8, 8)
    """

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        network="generative",
        layer=0,
        units=None,
        image_shape=None,
        n_columns=None,
        ax=None,
        **imshow_kw,
    ) -> Self:
        """Draw fields of a hidden layer's units.

        The field of a unit next to the data is its row of weights. Above that,
        it is projected down: the weights of the layers in between are
        multiplied, as if their units were linear.

        Parameters
        ----------
        estimator : HelmholtzMachine
            A fitted machine. Weights are shown as they are: for Gaussian units
            they belong to the standardised data.

        network : {"generative", "recognition"}, default="generative"
            Whose weights.

        layer : int, default=0
            Index of the hidden layer; 0 is next to the data, -1 the top.

        units : int, slice or array-like of int, default=None
            The units to show; None shows all.

        image_shape : tuple of (height, width), default=None
            None takes a square where the number of features allows it, else
            one line.

        n_columns : int, default=None
            Columns of the grid; None makes it about square.

        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        **imshow_kw : dict
            Passed to matplotlib's `imshow`.

        Returns
        -------
        display : WeightsDisplay
            The display, drawn: red raises a pixel (or is raised by it), blue
            lowers it.

        Raises
        ------
        TypeError
            If `estimator` is no HelmholtzMachine.

        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `network`, `layer`, `units`, `image_shape` or `n_columns` name nothing
            that the machine has or that can be drawn.
        """
        fields = _fields(estimator, network, layer)
        if units is not None:
            fields = fields[_places(len(fields), units)]
        reach = np.abs(fields).max() or 1.0
        display = cls(
            _as_images(fields, image_shape),
            n_columns=n_columns,
            vmin=-reach,
            vmax=reach,
            cmap="RdBu_r",
        )
        return display.plot(ax=ax, **imshow_kw)


def _fields(estimator, network, layer):
    """Return the weights between a hidden layer and the data, (n_units, n_features)."""
    _check_is_fitted_machine(estimator)
    if network not in ("generative", "recognition"):
        raise ValueError(
            f"network must be 'generative' or 'recognition', got {network!r}."
        )
    coefs = getattr(estimator, f"{network}_coefs_")
    n_layers = len(coefs)
    if not isinstance(layer, Integral) or not -n_layers <= layer < n_layers:
        raise ValueError(
            f"layer={layer!r} is not the index of a hidden layer: an integer from "
            f"{-n_layers} to {n_layers - 1}."
        )
    path = coefs[: layer % n_layers + 1]
    if network == "recognition":
        path = [weights.T for weights in path]
    fields = path[0]
    for weights in path[1:]:
        fields = weights @ fields
    return fields


def _places(n_units, units):
    """Return the places of the units that are asked for, as an array."""
    try:
        index = units if isinstance(units, slice) else np.asarray(units)
        places = np.atleast_1d(np.arange(n_units)[index])
    except (IndexError, TypeError, ValueError):
        places = np.empty(0)
    if places.ndim != 1 or not places.size:
        raise ValueError(
            "units must be an integer, a slice or an array of integers, of at least "
            f"one of the layer's {n_units} units, got {units!r}."
        )
    return places


class SamplesDisplay(_ImageGrid):
    """Dreams of a machine in a grid, each by itself or along chains.

    Parameters
    ----------
    images : array-like of shape (n_images, height, width)
        The dreams; chains one after another.

    n_columns : int, default=None
        Columns of the grid; None makes it about square.

    vmin, vmax : float, default=None
        Values at the ends of the colours; None takes those of the images.

    cmap : str or matplotlib Colormap, default="gray_r"
        Colours.

    Attributes
    ----------
    image_ : matplotlib AxesImage
        The grid.

    ax_ : matplotlib Axes
        The axes drawn on.

    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    HelmholtzMachine.sample : The dreams as rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_helmholtz import HelmholtzMachine, SamplesDisplay
    >>> X = load_digits().data / 16
    >>> machine = HelmholtzMachine((20,), max_iter=3, random_state=0).fit(X)
    >>> display = SamplesDisplay.from_estimator(machine, n_samples=4, random_state=0)
    >>> display.images.shape
    (4, 8, 8)
    """

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        n_samples=25,
        chain_length=1,
        mean=True,
        random_state=None,
        image_shape=None,
        n_columns=None,
        ax=None,
        **imshow_kw,
    ) -> Self:
        """Draw dreams of a fitted machine.

        Parameters
        ----------
        estimator : HelmholtzMachine
            A fitted machine.

        n_samples : int, default=25
            Number of independent dreams.

        chain_length : int, default=1
            Dreams in a row that each begins. The next one comes from
            recognising the last one's causes, s drawn from q(s | x), and
            dreaming down from the topmost of them. The chain walks among
            related dreams; its equilibrium is the machine's distribution only
            where recognition is exact.

        mean : bool, default=True
            Whether to show the visible units' mean values instead of draws.
            Chains go on from draws in either case.

        random_state : int, RandomState instance or None, default=None
            An int gives the same dreams at every call, None new ones.

        image_shape : tuple of (height, width), default=None
            None takes a square where the number of features allows it, else
            one line.

        n_columns : int, default=None
            Columns of the grid. None makes it about square, or `chain_length`
            columns where there are chains.

        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        **imshow_kw : dict
            Passed to matplotlib's `imshow`.

        Returns
        -------
        display : SamplesDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If `estimator` is no HelmholtzMachine.

        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `n_samples`, `chain_length` or `n_columns` is no positive integer, or
            `image_shape` does not fit the number of features.
        """
        _check_is_fitted_machine(estimator)
        chain_length = positive("chain_length", chain_length)
        rows = _dreams(estimator, n_samples, chain_length, mean, random_state)
        if n_columns is None and chain_length > 1:
            n_columns = chain_length
        bounds = _bounds(estimator, rows)
        display = cls(_as_images(rows, image_shape), n_columns=n_columns, **bounds)
        return display.plot(ax=ax, **imshow_kw)


def _dreams(estimator, n_chains, length, mean, random_state):
    """Return rows of chains, (n_chains * length, n_features), a chain at a time."""
    random_state = check_random_state(random_state)
    visible, lowest = estimator._dream(n_chains, random_state, 2)
    machine = machine_of(estimator)
    stream = Stream(make_generators(random_state, 1)[0])
    data = machine.top_down[0]
    dreams = []
    with workers(estimator.n_jobs):
        for step in range(length):
            if step:
                top = up_pass(machine, visible, stream, Scratch(machine.dtype))[-1]
                visible, lowest, *_ = down_pass(
                    machine.top_down, n_chains, stream, Scratch(machine.dtype), top
                )
            drawn = data.units.given(visible)
            dreams.append(drawn.mean(data.logits(lowest)) if mean else visible)
    rows = np.stack(dreams, axis=1)
    return estimator._to_data(rows.reshape(n_chains * length, -1))


def _bounds(estimator, rows):
    """Return the values at the ends of the colours for rows of visible values."""
    if estimator.visible_ == "bernoulli":
        return {"vmin": 0.0, "vmax": 1.0}
    return {"vmin": float(rows.min()), "vmax": float(rows.max())}


class ReconstructionDisplay(_ImageGrid):
    """Rows of data, and below each what the machine makes of it.

    Parameters
    ----------
    images : array-like of shape (n_images, height, width)
        Lines of the grid in turn: data, then its reconstructions.

    n_columns : int, default=None
        Columns of the grid; None makes it about square.

    vmin, vmax : float, default=None
        Values at the ends of the colours; None takes those of the images.

    cmap : str or matplotlib Colormap, default="gray_r"
        Colours.

    Attributes
    ----------
    image_ : matplotlib AxesImage
        The grid.

    ax_ : matplotlib Axes
        The axes drawn on.

    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    HelmholtzMachine.reconstruct : The reconstructions as rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_helmholtz import HelmholtzMachine, ReconstructionDisplay
    >>> X = load_digits().data / 16
    >>> machine = HelmholtzMachine((20,), max_iter=3, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(machine, X[:10])
    >>> display.images.shape
    (20, 8, 8)
    """

    @classmethod
    def from_estimator(
        cls, estimator, X, *, image_shape=None, n_columns=10, ax=None, **imshow_kw
    ) -> Self:
        """Draw rows above their reconstructions.

        Parameters
        ----------
        estimator : HelmholtzMachine
            A fitted machine.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to reconstruct.

        image_shape : tuple of (height, width), default=None
            None takes a square where the number of features allows it, else
            one line.

        n_columns : int, default=10
            Columns of the grid; None makes it about square.

        ax : matplotlib Axes, default=None
            Axes to draw on; None makes new ones.

        **imshow_kw : dict
            Passed to matplotlib's `imshow`.

        Returns
        -------
        display : ReconstructionDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If `estimator` is no HelmholtzMachine.

        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `n_columns` is no positive integer, or `image_shape` does not fit the
            number of features; and as :meth:`HelmholtzMachine.reconstruct` does.
        """
        _check_is_fitted_machine(estimator)
        rebuilt = estimator.reconstruct(X)
        rows = X.toarray() if hasattr(X, "toarray") else X
        rows = np.asarray(rows, dtype=rebuilt.dtype)
        both = np.concatenate([rows, rebuilt])
        shape = _as_images(both, image_shape).shape
        n_columns = min(_columns(n_columns, *shape), len(rows))
        images = _in_lines(rows, rebuilt, n_columns).reshape(-1, *shape[1:])
        display = cls(images, n_columns=n_columns, **_bounds(estimator, both))
        return display.plot(ax=ax, **imshow_kw)


def _in_lines(rows, rebuilt, n_columns):
    """Return lines of rows, each with those rebuilt below, the last filled with NaN."""
    n_lines = math.ceil(len(rows) / n_columns)
    lines = np.full((2, n_lines * n_columns, rows.shape[1]), np.nan)
    lines[0, : len(rows)], lines[1, : len(rows)] = rows, rebuilt
    return lines.reshape(2, n_lines, n_columns, -1).swapaxes(0, 1)
