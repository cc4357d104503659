"""The estimator: parameters, validation, fitted attributes; the rest delegates.

Longer than most modules here, for its docstrings: they are what users read.
"""

from contextlib import suppress
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._annealing import annealed_rows
from ._atomic import AllOrNothing
from ._belief_network import down_mean, down_pass, up_means, work_of
from ._conditional import fill_in
from ._data import BLOCK_ROWS, Rows, blocks
from ._directions import DIRECTIONS
from ._enumeration import exact_log_likelihood
from ._fitted import machine_of
from ._fitting import Fitting
from ._input import positive, read, refuse_hidden_values
from ._learning_rules import LEARNING_RULES
from ._likelihood import estimate_rows
from ._missing import rows_at_once
from ._optimizers import OPTIMIZERS, SCHEDULES
from ._parallel import workers
from ._random import Stream, make_generators
from ._start import inside_unit_interval
from ._warnings import warn_caller


class HelmholtzMachine(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    DensityMixin,
    Fitting,
    BaseEstimator,
):
    """Helmholtz machine: two networks of binary units, each the other's teacher.

    A Helmholtz machine [1]_ is two networks of binary stochastic units in
    layers. The generative network carries hidden causes top-down to data; the
    recognition network carries data bottom-up to its causes. Together they
    minimise the free energy F(x) = E_q[log q(s | x) - log p(x, s)], an upper
    bound on -log p(x), in nats.

    The fitted machine codes rows (:meth:`transform`), dreams new ones
    (:meth:`sample`) and scores them (:meth:`score_samples`).

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(200, 100)
        Units of the hidden layers, from the one above the data to the top.

    visible : {"auto", "bernoulli", "gaussian"}, default="auto"
        Kind of visible units. "bernoulli" takes values in [0, 1]: binary data,
        or grey values that are the means of binary units. "gaussian" takes any
        real values: their mean comes from the layer above, with one learned
        variance a feature. "auto" takes "bernoulli" if every value of the
        first data seen lies in [0, 1], else "gaussian". If it took "bernoulli", later
        rows outside [0, 1] are refused in training; elsewhere they are clipped, with a
        warning.

    resample : bool or "auto", default="auto"
        Whether grey values are drawn to binary afresh at every visit in
        training, or enter as they are. "auto" draws them, but not for
        contrastive divergence. Only for Bernoulli units.

    learning_rule : {"wake-sleep", "reweighted-wake-sleep", \
            "contrastive-divergence"}, default="reweighted-wake-sleep"
        "wake-sleep" [2]_ teaches the generative network on recognised data and
        the recognition network on dreams. "reweighted-wake-sleep" [3]_ draws
        `n_particles` recognised states a row, weights them by
        p(x, s) / q(s | x), and lets them teach both networks: better
        likelihoods at a higher cost. "contrastive-divergence" [4]_ is for
        codes before a classifier: the networks share their weights, and each
        layer learns to tell the one below from what it would make of it. Its
        likelihoods are poor.

    n_particles : int, default=5
        Recognised states a row, K. Only for "reweighted-wake-sleep".

    wake_share : float, default=1.0
        Factor of the recognition network's gradient on recognised data; with
        ``direction="natural"``, whose metric has it, too, little but its ratio to
        `sleep_share` matters, unless both are small beside 1. Only for
        "reweighted-wake-sleep".

    sleep_share : float, default=1.0
        Factor of the recognition network's gradient on dreams. Only for
        "reweighted-wake-sleep". With ``n_particles=1`` and ``wake_share=0``
        the rule is wake-sleep.

    n_moves : int, default=0
        Metropolis-Hastings moves in every layer towards the true posterior that a
        particle makes before both networks learn from it; the particle is one of
        the `n_particles`, drawn by weight. Only for "reweighted-wake-sleep". 10 or
        more can give generative networks of a better likelihood, which the recognition
        network then cannot follow: estimate it by :meth:`annealed_log_likelihood`. An
        epoch takes about three times as long with 10, five to seven with 25.

    lateral : bool, default=False
        Whether units of the recognition network see the units before them in
        their own layer: q(s_j | x, s_1, ..., s_j-1) instead of a product of
        independent units. Tighter bounds and better likelihoods for about
        twice the time.

    autoregressive : bool, default=False
        Whether visible units of the generative network see those before them, in the
        order of the columns, besides the hidden layer: p(x_j | s, x_1, ..., x_j-1)
        instead of a product of independent units [5]_. Better likelihoods of
        tables of some hundred columns, after fewer epochs. There are
        n_features (n_features - 1) / 2 more parameters, and dreams are drawn one
        column after another. Not for contrastive divergence.

    direction : {"plain", "centred", "natural"}, default="centred"
        "plain" is the gradient. "centred" takes the gradient in coordinates
        where every unit's inputs have mean zero, which allows learning rates
        about ten times as large. "natural" takes it in the metric of the
        Fisher information, factored by layer: for small machines that are to
        fit a distribution closely. It wants minibatches of some 20 to 200 rows, and
        a step costs the cube of a layer's parents. Not for contrastive divergence.

    optimizer : {"sgd", "adam"}, default="sgd"
        "sgd" is gradient ascent with `momentum`, "adam" has a step of its own
        for every weight.

    learning_rate : float or "auto", default="auto"
        Step for the mean gradient of a minibatch, in nats a row. "auto" takes
        what suits the direction, 1 for "centred", 0.1 for "plain" (for contrastive
        divergence half of these) and 0.03 for "natural"; of that :meth:`fit` takes
        (n / 40)^2 where it has n < 40 rows, or batch_size / 5 (for "natural"
        batch_size / 10) if that is less. A `momentum` above 0.9 takes
        (1 - momentum) / 0.1 of it and, where the rate does not end at 0, a
        `batch_size` below 100 takes batch_size / 100, instead of that over 5 or 10.
        For `optimizer="adam"` it is 0.001. Steps of the recognition network are
        shorter where inputs are many for the rows.

    momentum : float, default=0.9
        How much of its last step, in [0, 1), "sgd" adds to the next; for "adam" its
        beta_1.

    learning_rate_schedule : {"constant", "linear", "invscaling"}, default="linear"
        "linear" goes down to 0 at the end of `max_iter`; "invscaling" divides
        by the square root of the epochs. :meth:`partial_fit`, which has no end
        in sight, keeps the rate constant.

    alpha : float, "evidence" or "auto", default="auto"
        L2 penalty: alpha / 2 times the squared weights is added to the free
        energy of a row. (Gaussian units' weights it pulls more strongly: their
        steps are measured in the units' variance, and shortened if parents are many.)
        "evidence" gives the generative weights heavy-tailed priors, and learns
        after every epoch of :meth:`fit` at what scale each unit sends [6]_ [7]_:
        the choice where rows are few. A new machine's first epoch goes without, and
        its upper layers do for the first quarter of all steps.
        "auto" is that at part of its strength, w / (w + 4 n) for w generative
        weights and n rows; for contrastive divergence, where "evidence" is
        refused, it is 3e-4. The weights of Gaussian visible units are drawn by
        0.3 of either. Binary visible biases learn from half a row more, half on,
        half off, unless `alpha` is 0. :meth:`partial_fit`, which does not know how
        many rows there will be, does without priors.

    initial_activity : float, default=0.1
        Probability of a hidden unit to be on at the start of training, in
        (0, 1). A sparse start makes for more distinct units.

    batch_size : int, default=100
        The most rows of a minibatch. All minibatches of an epoch, or of a call of
        :meth:`partial_fit`, are of one size, give or take a row. Should the data
        have fewer rows, they are one minibatch.

    max_iter : int or "auto", default="auto"
        Epochs, passes over the data. "auto" makes 50 of them, and up to 200 where
        it takes more for 1,000 minibatches; always 50 with contrastive divergence.

    tol : float or None, default=None
        Stop when the free energy has not improved by more than `tol` nats for
        `n_iter_no_change` epochs. None trains for `max_iter` epochs.

    n_iter_no_change : int or "auto", default="auto"
        See `tol` and `early_stopping`. "auto" waits for 10 epochs, or for as many as
        make 200 minibatches: a fit may be worse than at its start for dozens of them.

    early_stopping : bool, default=False
        Keep back a part of the rows, stop when their free energy has not
        improved for `n_iter_no_change` epochs, and keep the parameters
        that had the best, those that a warm start goes on from included.

    validation_fraction : float, default=0.1
        Part of the rows that `early_stopping` keeps back, in (0, 1).

    code : {"all", "top"} or int, default="all"
        Which hidden layers :meth:`transform` returns: all of them, bottom-up,
        side by side; the top one; or one layer by its index, 0 being the
        layer above the data and -1 the top.

    n_score_samples : int, default=10
        Particles a row in :meth:`score_samples`.

    warm_start : bool, default=False
        Whether :meth:`fit` goes on from the last fit or starts anew.

    shuffle : bool, default=True
        Whether to visit rows in a new random order in every epoch.

    n_jobs : int or None, default=None
        Threads. None takes as many as BLAS may use, -1 all processors. Fitted
        parameters do not depend on it.

    verbose : int, default=0
        1 prints a line an epoch.

    random_state : int, RandomState instance or None, default=None
        Seeds the initial weights, the order of rows and all draws in training.
        Pass an int for reproducible results across calls.

    Attributes
    ----------
    components_ : ndarray of shape (n_units, n_features)
        Generative weights from the first hidden layer to the data, those in
        ``generative_coefs_[0]``.

    generative_coefs_ : list of ndarray
        Entry l holds the weights from hidden layer l, counted from 0, to the
        layer below it, (n_units, n_units_below).

    generative_intercepts_ : list of ndarray
        Biases of the generative network: of the visible layer, then of each
        hidden layer. The last is the top layer's prior.

    recognition_coefs_ : list of ndarray
        Entry l holds the weights from the layer below to hidden layer l,
        (n_units_below, n_units).

    recognition_intercepts_ : list of ndarray
        Biases of the recognition network, one array a hidden layer.

    visible_ : {"bernoulli", "gaussian"}
        The kind of visible units in use.

    lateral_coefs_ : list of ndarray
        Entry l holds the weights among the units of hidden layer l, strictly
        upper triangular, (n_units, n_units). Only with `lateral`.

    lateral_intercepts_ : list of ndarray
        What lateral connections add to the recognition biases. Only with
        `lateral`.

    autoregressive_coef_ : ndarray of shape (n_features, n_features)
        Weights among the visible units, strictly upper triangular. Only with
        `autoregressive`.

    autoregressive_intercept_ : ndarray of shape (n_features,)
        What connections among the visible units add to their biases. Only with
        `autoregressive`.

    location_ : ndarray of shape (n_features,)
        Mean of the first data seen. A Gaussian machine's parameters are those
        of ``(X - location_) / scale_``. Only for Gaussian units.

    scale_ : ndarray of shape (n_features,)
        Standard deviation of the first data seen, 1 or more where a column is constant
        but for rounding. Only for Gaussian units.

    variance_ : ndarray of shape (n_features,)
        Learned variances of ``(X - location_) / scale_``. Only for Gaussian
        units.

    free_energy_curve_ : list of float
        Mean free energy in nats after each epoch, over up to 1,000 training
        rows; in the units of the data, as :meth:`score` is, whose negative it is.
        :meth:`partial_fit` adds nothing to it.

    validation_free_energy_curve_ : list of float
        The same over the rows kept back, NaN where a warm start kept back none.
        Only with `early_stopping`.

    n_iter_ : int
        Epochs done by the last fit and its warm starts, and passes of
        :meth:`partial_fit` since.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit. Defined only when `X` has feature
        names that are all strings.

    See Also
    --------
    sklearn.preprocessing.StandardScaler : Codes are read best standardised.
    sklearn.neural_network.BernoulliRBM : One layer, undirected.
    sklearn.decomposition.PCA : Linear codes.

    Notes
    -----
    Grey values are drawn to binary at every visit in training, unless `resample`
    is False, or "auto" with contrastive divergence. In
    :meth:`score_samples` a grey row's score is a lower bound on the expected
    log-likelihood of its binary rows, E_b[log p(b)] with means x, whatever
    machine it comes from, so that scores of the same data compare. That does not hold
    with `autoregressive`: grey values then tell the units after them more
    than binary ones would, and the score is no bound.

    References
    ----------
    .. [1] P. Dayan, G. E. Hinton, R. M. Neal and R. S. Zemel, "The Helmholtz
       machine", Neural Computation 7, 889-904, 1995.

    .. [2] G. E. Hinton, P. Dayan, B. J. Frey and R. M. Neal, "The wake-sleep
       algorithm for unsupervised neural networks", Science 268, 1158-1161,
       1995.

    .. [3] J. Bornschein and Y. Bengio, "Reweighted wake-sleep", ICLR 2015.

    .. [4] G. E. Hinton, "Training products of experts by minimizing contrastive
       divergence", Neural Computation 14, 1771-1800, 2002.

    .. [5] K. Gregor, I. Danihelka, A. Mnih, C. Blundell and D. Wierstra, "Deep
       autoregressive networks", ICML 2014, section 2.

    .. [6] D. J. C. MacKay, "Bayesian interpolation", Neural Computation 4, 415-447,
       1992, section 3.

    .. [7] R. M. Neal, "Bayesian learning for neural networks", Springer, 1996,
       section 4.1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_helmholtz import HelmholtzMachine
    >>> X = load_digits().data / 16
    >>> machine = HelmholtzMachine((40, 20), max_iter=5, random_state=0).fit(X)
    >>> machine.transform(X).shape
    (1797, 60)
    >>> machine.sample(3, random_state=0).shape
    (3, 64)
    >>> bound, estimate = machine.score(X), machine.log_likelihood(X, 100).mean()
    >>> bool(bound < estimate)
    True
    """

    #: Where the HTML representation's links point, once this has been published there.
    _doc_link_module = "sklearn_helmholtz"
    _doc_link_template = (
        "https://sklearn-helmholtz.readthedocs.io/en/stable/generated/"
        "{estimator_module}.{estimator_name}.html"
    )

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "visible": [StrOptions({"auto", "bernoulli", "gaussian"})],
        "resample": ["boolean", StrOptions({"auto"})],
        "learning_rule": [StrOptions(set(LEARNING_RULES))],
        "n_particles": [Interval(Integral, 1, None, closed="left")],
        "wake_share": [Interval(Real, 0, None, closed="left")],
        "sleep_share": [Interval(Real, 0, None, closed="left")],
        "n_moves": [Interval(Integral, 0, None, closed="left")],
        "lateral": ["boolean"],
        "autoregressive": ["boolean"],
        "direction": [StrOptions(set(DIRECTIONS))],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "learning_rate": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "learning_rate_schedule": [StrOptions(set(SCHEDULES))],
        "alpha": [
            Interval(Real, 0, None, closed="left"),
            StrOptions({"auto", "evidence"}),
        ],
        "initial_activity": [Interval(Real, 0, 1, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "code": [StrOptions({"all", "top"}), Integral],
        "n_score_samples": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "shuffle": ["boolean"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        hidden_layer_sizes=(200, 100),
        *,
        visible="auto",
        resample="auto",
        learning_rule="reweighted-wake-sleep",
        n_particles=5,
        wake_share=1.0,
        sleep_share=1.0,
        n_moves=0,
        lateral=False,
        autoregressive=False,
        direction="centred",
        optimizer="sgd",
        learning_rate="auto",
        momentum=0.9,
        learning_rate_schedule="linear",
        alpha="auto",
        initial_activity=0.1,
        batch_size=100,
        max_iter="auto",
        tol=None,
        n_iter_no_change="auto",
        early_stopping=False,
        validation_fraction=0.1,
        code="all",
        n_score_samples=10,
        warm_start=False,
        shuffle=True,
        n_jobs=None,
        verbose=0,
        random_state=None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.visible = visible
        self.resample = resample
        self.learning_rule = learning_rule
        self.n_particles = n_particles
        self.wake_share = wake_share
        self.sleep_share = sleep_share
        self.n_moves = n_moves
        self.lateral = lateral
        self.autoregressive = autoregressive
        self.direction = direction
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.learning_rate_schedule = learning_rate_schedule
        self.alpha = alpha
        self.initial_activity = initial_activity
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.code = code
        self.n_score_samples = n_score_samples
        self.warm_start = warm_start
        self.shuffle = shuffle
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.random_state = random_state

    # ------------------------------------------------------------------ fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None) -> Self:
        """Fit the machine to data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.

        y : Ignored
            Present for the API's consistency.

        Returns
        -------
        self : HelmholtzMachine
            The fitted machine.

        Raises
        ------
        ValueError
            If `X` is not finite, or lies outside [0, 1] with Bernoulli units; if
            parameters do not go together or, with `warm_start`, do not fit the machine;
            if `early_stopping` leaves no row to train on.

        Warns
        -----
        ConvergenceWarning
            If the parameters diverge; the last finite ones are kept.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.n_iter_, len(machine.free_energy_curve_)
        (200, 200)
        """
        n_epochs = self._planned_epochs(X)
        context = self._init_callback_context(max_subtasks=n_epochs)
        with AllOrNothing(self):
            self._fit(X, y, context, n_epochs)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None) -> Self:
        """Go on from where `fit` or `partial_fit` stopped, with one pass over data.

        The rows are taken as they come, up to `batch_size` at a time, with a
        constant learning rate; a call of fewer rows takes a step that is shorter in
        proportion, and calls of few and of many rows may alternate. The first call
        chooses the visible units and, for Gaussian ones, sets location and scale: it
        should have rows enough to tell them.

        The rate is that with which `fit` begins, not what it has fallen to: a machine
        follows rows of another kind soon, but rows like those it was fitted to leave
        it a little worse. For these, set `learning_rate` to a tenth before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Some rows of the training data.

        y : Ignored
            Present for the API's consistency.

        Returns
        -------
        self : HelmholtzMachine
            The fitted machine.

        Raises
        ------
        ValueError
            If `X` is not finite, or lies outside [0, 1] with Bernoulli units; if the
            parameters diverge, or do not fit what the machine has been fitted as.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine = machine.partial_fit(X[:100]).partial_fit(X[100:])
        >>> machine.n_iter_
        202
        """
        with AllOrNothing(self):
            self._partial_fit(X)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def resume(self, X, y=None) -> Self:
        """Finish the fit that :class:`Checkpoint` has written down.

        For a machine from :meth:`Checkpoint.load`. The parameters at the end
        are, to the last bit, those of a fit that was never broken off. What
        may change between a fit and a warm start may be changed before, by
        `set_params`: how long to train, and how. What the machine is, and which rows
        are kept back, may not. A fit that diverged goes on from the last finite
        parameters, with a smaller `learning_rate`, say.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The training data of that fit.

        y : Ignored
            Present for the API's consistency.

        Returns
        -------
        self : HelmholtzMachine
            The fitted machine.

        Raises
        ------
        ValueError
            If no fit is unfinished; if `X` differs from that fit's data: its
            shape, or any of 1,000 rows spread over it; if the parameters
            no longer fit the machine.

        Warns
        -----
        ConvergenceWarning
            If the parameters diverge; the last finite ones are kept.

        See Also
        --------
        Checkpoint : Writes a fit to disk while it runs.
        """
        if not hasattr(self, "_unfinished"):
            raise ValueError(
                f"This {type(self).__name__} has no unfinished fit. Load one with "
                "Checkpoint.load; or use warm_start=True and fit to train on."
            )
        n_epochs = self._planned_epochs(X)
        n_left = max(n_epochs - self._unfinished.watch.n_epochs, 0)
        context = self._init_callback_context(max_subtasks=n_left)
        with AllOrNothing(self):
            self._resume_fit(X, y, context, n_epochs)
        return self

    # ------------------------------------------------------ checks, attributes

    def _validate(self, X, *, reset):
        """Return rows of finite float32 or float64, dense in C order or canonical CSR.

        As they are, not yet in the machine's units.
        """
        rows = self._read(X, reset=reset)
        self._check_finite(rows)
        return rows

    def _read(self, X, *, reset):
        """Return rows as `_validate` does, but that they may not be finite."""
        how = {} if reset else {"dtype": [self._dtype]}
        return Rows(read(self, X, reset=reset, ensure_all_finite=False, **how))

    def _check_finite(self, rows):
        """Raise if a value is not."""
        # The range is asked for anyway, so this saves a pass over all data.
        if not np.isfinite(rows.range).all():
            name = type(self).__name__
            assert_all_finite(rows.X, estimator_name=name, input_name="X")

    def _in_units(self, rows, *, training=True):
        """Return rows of plain data in the machine's units.

        What lies outside a Bernoulli's is an error. But where "auto" chose these
        units, rows that are not to train on are clipped: a scaler leaves those that it
        has not seen outside, as cross-validation has them.
        """
        if self.visible_ == "gaussian":
            return rows.seen_as(location=self.location_, scale=self.scale_)
        low, high = rows.range
        if not inside_unit_interval(rows):
            # The first words are those that scikit-learn's checks look for.
            what = "Negative values in data: " if low < 0 else ""
            what += (
                "Bernoulli visible units need values in [0, 1], but X ranges from "
                f"{low:.9g} to {high:.9g}"
            )
            remedy = (
                "Scale it with sklearn.preprocessing.MinMaxScaler(clip=True), or fit "
                "with visible='gaussian'."
            )
            if training or self.visible != "auto":
                raise ValueError(f"{what}. {remedy}")
            warn_caller(f"{what}; it is clipped. {remedy}")
        return rows.seen_as(clip=low < 0 or high > 1)

    @property
    def _dtype(self):
        return self.generative_intercepts_[0].dtype

    @property
    def _n_features_out(self):
        return sum(len(self.recognition_intercepts_[i]) for i in self._coded_layers())

    def _coded_layers(self):
        """Return the indices of the hidden layers that codes are made of."""
        n_layers = len(self.recognition_intercepts_)
        self._check_code(n_layers)
        layers = range(n_layers)
        if self.code == "all":
            return layers
        return [layers[-1 if self.code == "top" else self.code]]

    def __sklearn_is_fitted__(self):
        # Callbacks may ask while a first fit has set some attributes.
        return hasattr(self, "generative_coefs_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = self.visible == "bernoulli"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # -------------------------------------------------------------------- codes

    def transform(self, X) -> np.ndarray:
        """Code rows by their recognition probabilities.

        The codes are those of one deterministic pass: every layer's
        probabilities, given the probabilities of the layer below.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to code.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_units)
            Probabilities of the hidden layers that `code` names, in the
            machine's dtype.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``; if `code` has
            been set to none of the layers.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.transform(X[:2]).shape
        (2, 2)
        """
        check_is_fitted(self)
        rows = self._read(X, reset=False)
        # The range of sparse data is little to ask for; Gaussian units standardise.
        if not (sp.issparse(rows.X) or self.visible_ == "gaussian"):
            with suppress(_OutsideError):
                return self._code(rows, looks=True)
        # What is wrong is said of all rows, in this thread: warnings of others would
        # not lead to the caller.
        self._check_finite(rows)
        return self._code(self._in_units(rows, training=False))

    def _code(self, rows, *, looks=False):
        """Return the codes of rows in the machine's units.

        Parameters
        ----------
        rows : Rows

        looks : bool, default=False
            Whether to raise an `_OutsideError` if a value lies outside [0, 1]. A
            block's values are looked at when it is coded, as the next to work on it
            finds it in the processor's cache then.
        """
        machine = machine_of(self)
        layers = self._coded_layers()
        n_layers = layers[-1] + 1
        codes = np.empty((rows.n_rows, self._n_features_out), dtype=self._dtype)

        def code(part):
            block = rows.take(part)
            if looks and not (block.min() >= 0 and block.max() <= 1):
                raise _OutsideError
            means = up_means(machine, block, n_layers)
            np.concatenate([means[i] for i in layers], axis=1, out=codes[part])

        work = rows.n_rows * work_of(machine.recognition[:n_layers])
        with workers(self.n_jobs) as team:
            team.map_blocks(code, rows.blocks(BLOCK_ROWS), work)
        return codes

    def inverse_transform(self, X) -> np.ndarray:
        """Return the mean visible values that codes stand for.

        The codes of one layer go down the generative network as
        probabilities. Where they hold all layers, the lowest decides: given
        it, the data does not depend on the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_units)
            Codes as `transform` returns them.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Mean visible values, in the units of the data.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `X` is not finite, or has not as many columns as codes have; if `code`
            has been set to none of the layers.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.inverse_transform(machine.transform(X[:2])).round()
        array([[1., 1., 0., 0.],
               [0., 0., 1., 1.]])
        """
        check_is_fitted(self)
        refuse_hidden_values(X)
        codes = check_array(X, dtype=self._dtype, estimator=self, input_name="X")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but the codes of "
                f"{type(self).__name__} have {self._n_features_out}."
            )
        layer = self._coded_layers()[0]
        n_units = len(self.recognition_intercepts_[layer])
        generative = machine_of(self).top_down[: layer + 1]
        with workers(self.n_jobs):
            return self._to_data(down_mean(generative, codes[:, :n_units]))

    def reconstruct(self, X) -> np.ndarray:
        """Return the mean visible values of the codes of rows: there and back.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to reconstruct.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            Mean visible values.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``; if `code` has
            been set to none of the layers.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.reconstruct(X[:2]).round()
        array([[1., 1., 0., 0.],
               [0., 0., 1., 1.]])
        """
        return self.inverse_transform(self.transform(X))

    # --------------------------------------------------------------- filling in

    def impute(
        self, X, *, mean=False, n_iter=100, n_particles=10, random_state=None
    ) -> np.ndarray:
        """Fill in missing values given the seen ones, by a Markov chain.

        The chain's stationary distribution is the model's p(missing | seen),
        whatever the recognition network is worth: it proposes hidden states, as
        do dreams, and a resampling among the present ones and those proposed makes
        up for what is wrong with them [8]_. A row given several times gets independent
        draws: multiple imputation. Bernoulli units draw 0 or 1, also where the
        training data was grey.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with NaN where a value is missing. A grey value that is seen
            counts as in :meth:`score_samples`.

        mean : bool, default=False
            Whether to return the missing values' means, averaged over the
            second half of the chain, instead of its last draw.

        n_iter : int, default=100
            Steps of the chain.

        n_particles : int, default=10
            Hidden states that each step chooses among, at least 2. The
            stationary distribution does not depend on it, the speed of
            reaching it does.

        random_state : int, RandomState instance or None, default=None
            An int gives the same values at every call, None new ones.

        Returns
        -------
        X_filled : ndarray of shape (n_samples, n_features)
            The rows with no value missing, in the machine's dtype; seen values are
            as they were, rounded to it.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `X` is infinite anywhere, has another number of features than the
            training data, or lies outside [0, 1] with ``visible="bernoulli"``; if
            `n_iter` is no positive integer, or `n_particles` is below 2.

        References
        ----------
        .. [8] C. Andrieu, A. Lee and M. Vihola, "Uniform ergodicity of the
           iterated conditional SMC and geometric ergodicity of particle Gibbs
           samplers", Bernoulli 24, 842-872, 2018.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.impute([[np.nan, 1, np.nan, 0]], random_state=0)
        array([[1., 1., 0., 0.]])
        """
        check_is_fitted(self)
        n_iter = positive("n_iter", n_iter)
        if positive("n_particles", n_particles) < 2:
            raise ValueError("n_particles must be at least 2: one stays as it is.")
        how = {"dtype": [self._dtype], "accept_sparse": False, "reset": False}
        X = read(self, X, ensure_all_finite="allow-nan", **how)
        missing = np.isnan(X)
        start = np.asarray(getattr(self, "location_", 0.5), dtype=self._dtype)
        rows = self._in_units(Rows(np.where(missing, start, X)), training=False)
        machine = machine_of(self)
        parts = rows.blocks(rows_at_once(machine, missing, BLOCK_ROWS // 2))
        # A generator a block, so that blocks may be filled in in any thread.
        generators = make_generators(random_state, len(parts))
        filled = np.empty_like(rows.X)

        def fill(block):
            part, generator = block
            filled[part] = fill_in(
                machine,
                rows.take(part),
                missing[part],
                Stream(generator),
                n_iter=n_iter,
                n_particles=n_particles,
                mean=mean,
            )

        with workers(self.n_jobs) as team:
            team.map_blocks(fill, list(zip(parts, generators, strict=True)))
        return np.where(missing, self._to_data(filled), X)

    # ------------------------------------------------------------------- dreams

    def sample(self, n_samples=1, *, mean=False, random_state=None) -> np.ndarray:
        """Draw rows from the generative network.

        Bernoulli units draw 0 or 1, also where the training data was grey.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        mean : bool, default=False
            Whether to return the visible units' mean values instead of draws.

        random_state : int, RandomState instance or None, default=None
            An int gives the same rows at every call, None new ones.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the data.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `n_samples` is no positive integer.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> rows = machine.sample(3, random_state=0)
        >>> rows.shape, rows.sum(axis=1).tolist()
        ((3, 4), [2.0, 2.0, 2.0])
        """
        if not mean:
            (drawn,) = self._dream(n_samples, random_state, 1)
            return self._to_data(drawn)
        drawn, lowest = self._dream(n_samples, random_state, 2)
        visible = machine_of(self).top_down[0]
        with workers(self.n_jobs):
            units = visible.units.given(drawn)
            return self._to_data(units.mean(visible.logits(lowest)))

    def sample_states(self, n_samples=1, *, random_state=None) -> list[np.ndarray]:
        """Draw rows together with the hidden states that gave them.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        random_state : int, RandomState instance or None, default=None
            An int gives the same states at every call, and the same rows as
            :meth:`sample`; None gives new ones.

        Returns
        -------
        states : list of ndarray
            Bottom-up: rows of shape (n_samples, n_features), then the binary
            states of each hidden layer, (n_samples, n_units).

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `n_samples` is no positive integer.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> rows, hidden = machine.sample_states(3, random_state=0)
        >>> rows.shape, hidden.shape
        ((3, 4), (3, 2))
        """
        states = self._dream(n_samples, random_state)
        return [self._to_data(states[0]), *states[1:]]

    def _dream(self, n_samples, random_state, n_layers=None):
        """Return states as `sample_states` does, the rows in the machine's units.

        The lowest `n_layers` of them: what nobody asks for takes no memory.
        """
        check_is_fitted(self)
        n_rows = positive("n_samples", n_samples)
        generative = machine_of(self).top_down
        # First of all, as there may not be memory enough.
        states = [
            np.empty((n_rows, len(layer.bias)), dtype=self._dtype)
            for layer in generative[:n_layers]
        ]
        parts = blocks(n_rows, BLOCK_ROWS)
        # A generator a block, so that blocks may be drawn in any thread.
        generators = make_generators(random_state, len(parts))

        def dream(block):
            part, generator = block
            n_part = part.stop - part.start

            def own(name, shape):
                """Return what to draw into: the block of a result, if it is one."""
                index = name[-1]
                if index < len(states):
                    return states[index][part]
                return np.empty(shape, dtype=self._dtype)

            down_pass(generative, n_part, Stream(generator), own)

        with workers(self.n_jobs) as team:
            work = n_rows * work_of(generative)
            team.map_blocks(dream, list(zip(parts, generators, strict=True)), work)
        return states

    def _to_data(self, visible):
        """Return visible values in the units of the data."""
        if self.visible_ != "gaussian":
            return visible
        with np.errstate(over="ignore"):
            values = visible * self.scale_ + self.location_
        # Draws lie further out than all rows now and then: at the numbers' end, there.
        end = np.finfo(self._dtype).max
        return np.clip(values, -end, end, out=values).astype(self._dtype, copy=False)

    # -------------------------------------------------------------- likelihoods

    def score_samples(self, X) -> np.ndarray:
        """Return the negative free energy of rows, a lower bound on log p(x).

        A Monte-Carlo estimate from `n_score_samples` particles a row, whose
        noise is keyed by the row's content: a row's score depends on the row
        alone, not on its place, its neighbours or the call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score. The score of a grey row (values in (0, 1) with
            Bernoulli units) is a lower bound on the expected log-likelihood of
            the binary rows that have it as mean, unless units are `autoregressive`.

        Returns
        -------
        score : ndarray of shape (n_samples,), float64
            Nats. Log densities in the units of the data for Gaussian units.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``; if
            `n_score_samples` has been set to no positive integer.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.score_samples(X[:2]).round(1)  # log 1/2 is -0.69
        array([-0.7, -0.7])
        """
        n_particles = positive("n_score_samples", self.n_score_samples)
        return self._estimate(X, estimate_rows, n_particles).mean_log_weight

    def score(self, X, y=None) -> float:
        """Return the mean of `score_samples`, in nats a row; higher is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.

        y : Ignored
            Present for the API's consistency.

        Returns
        -------
        score : float
            Mean negative free energy.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``; if
            `n_score_samples` has been set to no positive integer.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> round(machine.score(X), 1)
        -0.7
        """
        value = float(np.mean(self.score_samples(X)))
        return _LoggedScore(value) if getattr(self, "_in_callback", False) else value

    def log_likelihood(
        self,
        X,
        n_samples=1000,
        random_state=None,
        *,
        return_effective_sample_size=False,
    ) -> Any:
        """Estimate log p(x) of rows by importance sampling from q(s | x).

        The log of the mean of `n_samples` weights p(x, s) / q(s | x): a lower
        bound on log p(x) in expectation, which rises with `n_samples` and meets
        it in the limit [3]_. Particles stream, so memory does not grow
        with their number.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; grey rows as in :meth:`score_samples`.

        n_samples : int, default=1000
            Particles a row.

        random_state : int, RandomState instance or None, default=None
            An int gives other, independent noise for every value. With None
            the noise is that of :meth:`score_samples`. Either way a row's
            estimate depends on the row alone.

        return_effective_sample_size : bool, default=False
            Whether to return the effective sample sizes as well.

        Returns
        -------
        log_likelihood : ndarray of shape (n_rows,), float64
            Nats. Log densities in the units of the data for Gaussian units.

        effective_sample_size : ndarray of shape (n_rows,), float64
            (sum of weights)^2 / sum of squared weights, from 1 to `n_samples`,
            or 0 where a row is too far off to have any weight; an estimate
            with a handful is not to be trusted. Only with
            `return_effective_sample_size`.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``; if
            `n_samples` is no positive integer.

        References
        ----------
        .. [3] J. Bornschein and Y. Bengio, "Reweighted wake-sleep", ICLR 2015.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.log_likelihood(X[:2]).round(1)
        array([-0.7, -0.7])
        """
        n_samples = positive("n_samples", n_samples)
        found = self._estimate(X, estimate_rows, n_samples, random_state=random_state)
        if return_effective_sample_size:
            return found.log_likelihood, found.effective_sample_size
        return found.log_likelihood

    def annealed_log_likelihood(
        self,
        X,
        n_chains=4,
        n_temperatures=300,
        n_moves=3,
        random_state=None,
        *,
        return_effective_sample_size=False,
    ) -> Any:
        """Estimate log p(x) of rows by annealed importance sampling.

        Chains lead hidden states from the first layer's recognised means to the
        posterior, in many small steps [9]_. The log of the mean of their weights is
        a lower bound on log p(x) in expectation, as :meth:`log_likelihood` is. It
        costs `n_temperatures` times `n_moves` what a particle does, and is the
        tighter one where the recognition network is far from the posterior: where
        :meth:`log_likelihood` reports an effective sample size of a handful, and
        after training with `n_moves`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; grey rows as in :meth:`score_samples`.

        n_chains : int, default=4
            Chains a row.

        n_temperatures : int, default=300
            Steps from the start to the posterior. The more, the tighter.

        n_moves : int, default=3
            Metropolis-Hastings moves a layer at each step.

        random_state : int, RandomState instance or None, default=None
            An int gives other, independent noise for every value. Either way the
            noise depends on the row alone.

        return_effective_sample_size : bool, default=False
            Whether to return the effective sample sizes as well.

        Returns
        -------
        log_likelihood : ndarray of shape (n_rows,), float64
            Nats. Log densities in the units of the data for Gaussian units.

        effective_sample_size : ndarray of shape (n_rows,), float64
            Of the chains, from 1 to `n_chains`, or 0 where a row is too far off to
            have any weight. Only with `return_effective_sample_size`.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``; if a
            count is no positive integer.

        References
        ----------
        .. [9] R. M. Neal, "Annealed importance sampling", Statistics and Computing
           11 (2001) 125-139.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.annealed_log_likelihood(X[:2], n_temperatures=30).round(1)
        array([-0.7, -0.7])
        """
        given = {
            "n_chains": n_chains,
            "n_temperatures": n_temperatures,
            "n_moves": n_moves,
        }
        counts = [positive(name, value) for name, value in given.items()]
        found = self._estimate(X, annealed_rows, *counts, random_state=random_state)
        if return_effective_sample_size:
            return found.log_likelihood, found.effective_sample_size
        return found.log_likelihood

    def exact_log_likelihood(self, X) -> np.ndarray:
        """Return log p(x) of rows by summing over all hidden states.

        For small machines: any two neighbouring hidden layers may have 20
        units together.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; grey rows as in :meth:`score_samples`.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,), float64
            Nats. Log densities in the units of the data for Gaussian units.

        Raises
        ------
        NotFittedError
            If the machine has not been fitted.

        ValueError
            If the machine is too large; as :meth:`score_samples` does.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_helmholtz import HelmholtzMachine
        >>> X = np.tile([[1, 1, 0, 0], [0, 0, 1, 1]], (100, 1))
        >>> machine = HelmholtzMachine((2,), random_state=0).fit(X)
        >>> machine.exact_log_likelihood(X[:2]).round(1)
        array([-0.7, -0.7])
        """
        rows = self._checked_rows(X)
        machine = machine_of(self)
        with workers(self.n_jobs):
            values = [
                exact_log_likelihood(machine, rows.take(part))
                for part in rows.blocks(4 * BLOCK_ROWS)
            ]
        return np.concatenate(values) - self._log_jacobian()

    def _estimate(self, X, estimate, *counts, random_state=None):
        """Return what `estimate` finds with some counts, in the units of the data.

        The noise is that of scores where there is no random_state.
        """
        seed = 0
        if random_state is not None:
            seed = 1 + check_random_state(random_state).randint(2**31 - 1)
        return self._estimate_rows(self._checked_rows(X), estimate, *counts, seed=seed)

    def _estimate_rows(self, rows, estimate, *counts, seed=0):
        """Return the same of checked rows, in the machine's units."""
        with workers(self.n_jobs) as team:
            found = estimate(machine_of(self), rows, *counts, team, seed)
        shift = self._log_jacobian()
        return found._replace(
            log_likelihood=found.log_likelihood - shift,
            mean_log_weight=found.mean_log_weight - shift,
        )

    def _log_jacobian(self):
        """Return the log of the data's units in the machine's, summed."""
        if self.visible_ != "gaussian":
            return 0.0
        return float(np.log(self.scale_).sum())

    def _checked_rows(self, X):
        check_is_fitted(self)
        return self._in_units(self._validate(X, reset=False), training=False)


class _OutsideError(ValueError):
    """A row that is being coded is not in the unit interval."""


class _LoggedScore(float):
    """A float that `dict.update` takes as well.

    The machines that callbacks get return it: scikit-learn 1.9's
    ``ScoringMonitor(scoring=None)`` updates a dict with what `score` returns.
    """

    def keys(self):
        return ["score"]

    def __getitem__(self, key):
        return float(self)
