"""The generative classifier: one machine per class, prediction by Bayes' rule.

Longer than most modules here, for its docstrings.
"""

import copy
import os
from contextlib import contextmanager, nullcontext
from functools import partial
from numbers import Integral
from typing import ClassVar, Self

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ._atomic import AllOrNothing, whole_fits
from ._data import Rows, moments, resolution
from ._fitting import spread
from ._input import positive, read, refuse_masked
from ._likelihood import estimate_rows
from ._machine import HelmholtzMachine
from ._numerics import log_sum_exp
from ._parallel import sharing_threads
from ._start import visible_kind

#: What `estimator=None` stands for, and what is otherwise with Gaussian units, which
#: overfit more where columns are many, and learn correlations best from each other; by
#: the method that starts a machine. A penalty for few rows would hide from many what
#: correlates them; `partial_fit`, which learns no priors, has to have one.
DEFAULTS = {"hidden_layer_sizes": (50, 20), "alpha": 1e-3, "max_iter": 100}
GAUSSIAN_DEFAULTS = {
    "fit": {"alpha": "auto", "autoregressive": True},
    "partial_fit": {"alpha": 0.03, "autoregressive": True},
}


class HelmholtzClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """One Helmholtz machine a class, and Bayes' rule on their likelihoods.

    The generative classifier of [1]_: a machine learns each class's density,
    and a row goes to the class for which prior times density is highest. It
    knows when a row is like none of its classes (:meth:`score_samples`), draws
    new rows of a class (:meth:`sample`), and learns in any number of passes
    (:meth:`partial_fit`), one class without a look at the others.

    Parameters
    ----------
    estimator : HelmholtzMachine or None, default=None
        The machine that is cloned for every class. None takes
        ``HelmholtzMachine((50, 20), alpha=1e-3, max_iter=100)``, for a few
        hundred rows a class; wider layers want more rows. On binary columns of
        which each tells of the class for itself, ``HelmholtzMachine()`` is often
        better, with its ``alpha="auto"``. With Gaussian units
        it has ``alpha="auto"``, or 0.03 if :meth:`partial_fit` starts it, and
        ``autoregressive=True``. Pipelines are not taken: a step fitted anew for every
        class would measure the classes' densities by different rulers. Put the
        classifier into the pipeline instead.

    priors : {"uniform"}, array-like of shape (n_classes,) or None, default=None
        Prior probabilities of the classes, in the order of `classes_`; they
        need not sum to one. None takes the classes' shares of the training
        rows, "uniform" the same for all.

    n_score_samples : int, default=100
        Particles a row with which :meth:`predict` and its kin estimate each
        log-likelihood, see :meth:`HelmholtzMachine.log_likelihood`.

    n_jobs : int or None, default=None
        Machines that are fitted at once, through :class:`joblib.Parallel`: None
        means one, unless in a :obj:`joblib.parallel_config` context, -1 all
        processors. The machines' own threads share the processors among
        them. The result does not depend on it.

    random_state : int, RandomState instance or None, default=None
        Gives each machine a seed. None leaves each with the `random_state` of
        `estimator`. Pass an int for reproducible results across calls.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.

    class_count_ : ndarray of shape (n_classes,), int
        Training rows of each class.

    class_log_prior_ : ndarray of shape (n_classes,)
        Log prior probabilities of the classes, -inf for those without rows so far.

    estimators_ : list of HelmholtzMachine
        The fitted machine of each class, in the order of `classes_`; None for
        a class of which :meth:`partial_fit` has seen no row yet.

    visible_ : {"bernoulli", "gaussian"}
        The kind of visible units of all machines.

    location_, scale_ : ndarray of shape (n_features,)
        Mean and spread of the training rows, all classes together, by which machines
        standardise. With :meth:`partial_fit` those of all rows until each class
        had some; a machine keeps what they were when its class's first rows
        came. Only for Gaussian units.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit. Defined only when `X` has feature
        names that are all strings.

    See Also
    --------
    HelmholtzMachine : The density of one class.
    sklearn.naive_bayes.BernoulliNB : The same rule, with independent features.
    sklearn.calibration.CalibratedClassifierCV : Calibrates probabilities; with
        many features those of any generative classifier are too sure.

    Notes
    -----
    Densities compare only if they are taken over the same measure, in the units of
    the data. So the kind of visible units is chosen once, from the rows of all
    classes. The mean and spread by which Gaussian machines standardise are those of
    all classes, too: in one class alone, columns may hardly vary. Columns of few
    values have no density, so their variances do not fall below that of rounding to
    their steps.

    Each machine meets a row with the same noise, a function of the row's
    content. So a row's label and probabilities do not depend on the rows that
    it is predicted with.

    There is no `sample_weight`: training draws at random, and weighted rows
    would not give what repeated rows give. Use `priors` where the classes'
    shares are to be others than those of the training rows.

    References
    ----------
    .. [1] G. E. Hinton, P. Dayan, B. J. Frey and R. M. Neal, "The wake-sleep
       algorithm for unsupervised neural networks", Science 268, 1158-1161,
       1995.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_helmholtz import HelmholtzClassifier, HelmholtzMachine
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> machine = HelmholtzMachine((20,), max_iter=10)
    >>> classifier = HelmholtzClassifier(machine, random_state=0).fit(X / 16, y)
    >>> classifier.score(X / 16, y) > 0.95
    True
    >>> rows, labels = classifier.sample(4, y=2, random_state=0)
    >>> rows.shape
    (4, 64)
    """

    _doc_link_module = HelmholtzMachine._doc_link_module
    _doc_link_template = HelmholtzMachine._doc_link_template

    _parameter_constraints: ClassVar[dict] = {
        "estimator": [HelmholtzMachine, None],
        "priors": [StrOptions({"uniform"}), "array-like", None],
        "n_score_samples": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        priors=None,
        n_score_samples=100,
        n_jobs=None,
        random_state=None,
    ) -> None:
        self.estimator = estimator
        self.priors = priors
        self.n_score_samples = n_score_samples
        self.n_jobs = n_jobs
        self.random_state = random_state

    # ------------------------------------------------------------------ fitting

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y) -> Self:
        """Fit a machine to the rows of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.

        y : array-like of shape (n_samples,)
            Labels.

        Returns
        -------
        self : HelmholtzClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If `X` is not finite, or lies outside [0, 1] with Bernoulli units;
            if `y` are no labels, one a row; if `priors` do not fit the classes. What a
            machine raises comes with a note of the class that it is about.
        """
        with AllOrNothing(self):
            X, y = self._validate(X, y, reset=True)
            classes, places = np.unique(y, return_inverse=True)
            context = self._init_callback_context(max_subtasks=len(classes))
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
            tasks = self._tasks(context, classes)
            self._learn("fit", X, places, self._start(X, classes), tasks)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y, classes=None) -> Self:
        """Go on with one pass over some rows.

        Every machine takes its rows as they come, see
        :meth:`HelmholtzMachine.partial_fit`: a block should have many rows of
        each class that it has. The first call chooses the visible units. A class's
        machine is made when its first rows come, with the parameters that
        `estimator` has then and, for Gaussian units, location and scale of all rows
        so far.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Some rows of the training data.

        y : array-like of shape (n_samples,)
            Their labels.

        classes : array-like of shape (n_classes,), default=None
            All labels that may come. Needed at the first call. A class has
            probability 0 as long as none of its rows was seen.

        Returns
        -------
        self : HelmholtzClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If `classes` is missing at the first call, or differs later; if
            `y` has a label that is not among them; and as :meth:`fit` does.
        """
        with AllOrNothing(self):
            self._partial_fit(X, y, classes)
        return self

    def _partial_fit(self, X, y, classes):
        """Go on with one pass over some rows."""
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        X, y = self._validate(X, y, reset=first)
        if first:
            classes = check_array(classes, ensure_2d=False, dtype=None)
            check_classification_targets(classes)
            start = self._start(X, np.unique(column_or_1d(classes)))
        else:
            start = vars(self)
            if classes is not None and not np.array_equal(
                np.unique(classes), self.classes_
            ):
                raise ValueError(
                    f"classes={classes!r} differs from those of the first call to "
                    f"partial_fit, {self.classes_!r}."
                )
        places = _places(start["classes_"], y)
        seen = np.unique(places) if first else np.flatnonzero(self.class_count_)
        if start["visible_"] == "gaussian" and len(seen) < len(start["classes_"]):
            start = start | _moments_with(X, start.get("_moments"))
        self._learn("partial_fit", X, places, start)

    def _validate(self, X, y, *, reset):
        """Return rows and labels."""
        refuse_masked(y, "y")
        X, y = read(self, X, y, reset=reset)
        check_classification_targets(y)
        return X, column_or_1d(y)

    def _start(self, X, classes):
        """Return the attributes of a classifier that has seen no row of any class."""
        rows = Rows(X)
        kind = visible_kind(self._machine().visible, rows)
        found = {"classes_": classes, "visible_": kind}
        if kind == "gaussian":
            found["location_"], found["scale_"] = moments(rows)
            some = rows.take(spread(rows.n_rows))
            found["_resolution"] = resolution(some, found["scale_"])
        found["class_count_"] = np.zeros(len(classes), dtype=np.int64)
        found["estimators_"] = [None] * len(classes)
        found["_seeds"] = None
        if self.random_state is not None:
            rng = check_random_state(self.random_state)
            top = np.iinfo(np.int32).max
            found["_seeds"] = rng.randint(top, size=len(classes)).tolist()
        return found

    def _machine(self, kind=None, method="fit"):
        """Return a new machine, as `estimator` says, for a kind of visible units."""
        if self.estimator is not None:
            return clone(self.estimator)
        more = GAUSSIAN_DEFAULTS[method] if kind == "gaussian" else {}
        return HelmholtzMachine(**DEFAULTS | more)

    def _blank(self, start, k, method):
        """Return an unfitted machine for class k, whose first method is to be this."""
        blank = self._machine(start["visible_"], method)
        if start["_seeds"] is not None:
            blank.set_params(random_state=start["_seeds"][k])
        measure = steps = None
        if "location_" in start:
            measure = start["location_"], start["scale_"]
            steps = start["_resolution"] / start["scale_"]
        # Its `_begin` reads this, and takes it off.
        blank._in_common = start["visible_"], measure, steps
        return blank

    def _tasks(self, context, classes):
        """Return what lets callbacks see each class's fit; None without any.

        It holds this classifier, which processes would be sent in vain.
        """
        if not any(hasattr(of, "_skl_callbacks") for of in (self, self.estimator)):
            return None
        names = [f"class {label}" for label in classes]
        return [partial(_task, context.subcontext(name), self) for name in names]

    def _learn(self, method, X, places, start, tasks=None):
        """Train the machines of all classes that have rows, then set attributes."""
        counts = np.bincount(places, minlength=len(start["classes_"]))
        log_prior = self._log_prior(start["class_count_"] + counts)
        seen = np.flatnonzero(counts)
        at_once = min(effective_n_jobs(self.n_jobs), len(seen))
        machines = list(start["estimators_"])
        # Copies, so that all machines stay as they were if one of them fails:
        # training binds a machine's attributes anew, at its end.
        fitted = Parallel(n_jobs=self.n_jobs)(
            delayed(_train)(
                method,
                self._blank(start, k, method)
                if machines[k] is None
                else copy.copy(machines[k]),
                X[np.flatnonzero(places == k)],
                at_once,
                os.getpid(),
                start["classes_"][k],
                None if tasks is None else tasks[k],
            )
            for k in seen
        )
        for k, machine in zip(seen, fitted, strict=True):
            machines[k] = machine
        if method == "fit":
            for name in ("location_", "scale_", "_moments", "_resolution"):
                vars(self).pop(name, None)
        vars(self).update(start)
        self.class_count_ = start["class_count_"] + counts
        self.class_log_prior_ = log_prior
        self.estimators_ = machines

    def _log_prior(self, counts):
        """Return the log prior of every class, given its rows so far.

        That of a class without any is -inf: there is no density to go with it.
        """
        priors = counts if self.priors is None else self.priors
        if isinstance(priors, str):
            priors = np.ones(len(counts))
        try:
            priors = np.asarray(priors, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "priors must be numbers, one a class in the order of classes_, got "
                f"{self.priors!r}."
            ) from error
        if priors.shape != counts.shape:
            raise ValueError(
                f"priors must have shape ({len(counts)},), one a class, got "
                f"{priors.shape}."
            )
        if not np.isfinite(priors).all() or (priors < 0).any() or not priors.any():
            raise ValueError(f"priors must be >= 0 and not all 0, got {self.priors!r}.")
        if not priors[counts > 0].any():
            raise ValueError(
                f"priors={self.priors!r} are 0 for every class that has rows so far."
            )
        priors = np.where(counts > 0, priors, 0)
        with np.errstate(divide="ignore"):
            return np.log(priors) - np.log(priors.sum())

    # --------------------------------------------------------------- prediction

    def predict_joint_log_proba(self, X) -> np.ndarray:
        """Return log p(x, class): log prior plus estimated log-likelihood.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        log_joint : ndarray of shape (n_samples, n_classes), float64
            Nats. Log densities in the units of the data for Gaussian units.

        Raises
        ------
        NotFittedError
            If the classifier has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``.
        """
        check_is_fitted(self)
        n_particles = positive("n_score_samples", self.n_score_samples)
        X = read(self, X, reset=False)
        found = np.full((X.shape[0], len(self.classes_)), -np.inf)
        rows = {}  # the same for all machines, unless they differ in precision or units
        for k, machine in enumerate(self.estimators_):
            if self.class_log_prior_[k] > -np.inf:
                units = _units_of(machine)
                if units not in rows:
                    rows[units] = machine._checked_rows(X)
                args = rows[units], estimate_rows, n_particles
                found[:, k] = machine._estimate_rows(*args).log_likelihood
        found += self.class_log_prior_
        return found

    def predict_log_proba(self, X) -> np.ndarray:
        """Return log probabilities of the classes given rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`. A row so far off that every class gives
            it density 0 has the classes' prior.

        Raises
        ------
        NotFittedError
            If the classifier has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``.
        """
        log_joint = self.predict_joint_log_proba(X)
        lost = ~(log_joint.max(axis=1) > -np.inf)
        log_joint[lost] = self.class_log_prior_
        return log_joint - log_sum_exp(log_joint, axis=1)[:, None]

    def predict_proba(self, X) -> np.ndarray:
        """Return probabilities of the classes given rows, by Bayes' rule.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            If the classifier has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``.
        """
        return np.exp(self.predict_log_proba(X))

    def decision_function(self, X) -> np.ndarray:
        """Return log probabilities of the classes, or the log odds of two.

        What calibration by temperature wants: probabilities themselves round
        to 0 and 1 where log-likelihoods are far apart.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        decision : ndarray of shape (n_samples, n_classes) or (n_samples,)
            Nats. With two classes, the log odds of ``classes_[1]``.

        Raises
        ------
        NotFittedError
            If the classifier has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``.
        """
        found = self.predict_log_proba(X)
        return found[:, 1] - found[:, 0] if found.shape[1] == 2 else found

    def predict(self, X) -> np.ndarray:
        """Return the most probable class of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels.

        Raises
        ------
        NotFittedError
            If the classifier has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``.
        """
        best = np.argmax(self.predict_log_proba(X), axis=1)
        return self.classes_[best]

    def score_samples(self, X) -> np.ndarray:
        """Return log p(x) of rows under the mixture of all classes.

        Low where a row is like none of the classes: to reject rows, set a
        threshold at a low quantile of the scores of rows kept out of training.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        log_density : ndarray of shape (n_samples,), float64
            Nats. Log densities in the units of the data for Gaussian units.

        Raises
        ------
        NotFittedError
            If the classifier has not been fitted.

        ValueError
            If `X` is not finite, has another number of features than the training
            data, or lies outside [0, 1] with ``visible="bernoulli"``.
        """
        return log_sum_exp(self.predict_joint_log_proba(X), axis=1)

    # ------------------------------------------------------------------- dreams

    def sample(
        self, n_samples=1, *, y=None, mean=False, random_state=None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows of given classes, or of classes drawn from their prior.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.

        y : label or array-like of shape (n_samples,), default=None
            Each row's class, or one class for all. None draws it.

        mean : bool, default=False
            Whether to return the visible units' mean values instead of draws.

        random_state : int, RandomState instance or None, default=None
            An int gives the same rows at every call, None new ones.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the data.

        y : ndarray of shape (n_samples,)
            Their labels.

        Raises
        ------
        NotFittedError
            If the classifier has not been fitted.

        ValueError
            If `n_samples` is no positive integer; if `y` is neither one label nor
            `n_samples` of them; if a label is unknown, or none of its rows was seen
            yet.
        """
        check_is_fitted(self)
        n_samples = positive("n_samples", n_samples)
        rng = check_random_state(random_state)
        seen = [machine for machine in self.estimators_ if machine is not None]
        places = self._asked_for(y, n_samples, rng)
        X = np.empty((n_samples, self.n_features_in_), dtype=seen[0]._dtype)
        for k in np.unique(places):
            machine = self.estimators_[k]
            if machine is None:
                raise ValueError(f"No row of class {self.classes_[k]} was seen yet.")
            rows = np.flatnonzero(places == k)
            X[rows] = machine.sample(len(rows), mean=mean, random_state=rng)
        return X, self.classes_[places]

    def _asked_for(self, y, n_samples, rng):
        """Return the position of each wanted row's class."""
        if y is not None:
            if np.shape(y) not in ((), (n_samples,)):
                raise ValueError(
                    "y must be one label, or one for each of the n_samples="
                    f"{n_samples} rows, got an array of shape {np.shape(y)}."
                )
            return _places(self.classes_, np.broadcast_to(y, (n_samples,)))
        prior = np.exp(self.class_log_prior_)
        return rng.choice(len(prior), size=n_samples, p=prior)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        visible = getattr(self.estimator, "visible", None)
        tags.input_tags.positive_only = visible == "bernoulli"
        return tags


def _moments_with(X, before):
    """Return location and scale of rows, some of which were there before.

    While a class has no machine. One that comes later is to standardise by all that
    came till then: in the rows of one class alone, columns may hardly vary.
    """
    if before is None:  # location and scale have been taken from these rows
        return {"_moments": StandardScaler(with_mean=False).partial_fit(X)}
    moments = copy.deepcopy(before).partial_fit(X)
    return {"_moments": moments, "location_": moments.mean_, "scale_": moments.scale_}


def _units_of(machine):
    """Return what tells whether rows are the same to machines."""
    measure = (vars(machine).get(name) for name in ("location_", "scale_"))
    return machine._dtype, *(None if a is None else a.tobytes() for a in measure)


def _places(classes, y):
    """Return the position of every label among the sorted classes."""
    order = {label: place for place, label in enumerate(classes.tolist())}
    labels = np.asarray(y)
    if labels.dtype.kind == classes.dtype.kind == "M":
        labels = labels.astype(classes.dtype)  # days or nanoseconds
    labels = labels.tolist()
    unknown = list(dict.fromkeys(label for label in labels if label not in order))
    if unknown:
        raise ValueError(f"y has labels that are not among the classes: {unknown}.")
    return np.array([order[label] for label in labels], dtype=np.intp)


def _train(method, machine, X, at_once, parent, label, task):
    """Return the machine trained on one class's rows, within a task if there is one.

    Processes of their own have had their threads cut down already. An interrupt raises:
    densities of unequal training do not compare.
    """
    with whole_fits(), sharing_threads(at_once if os.getpid() == parent else 1):
        try:
            with nullcontext() if task is None else task(machine, X, label):
                return getattr(machine, method)(X)
        except ValueError as error:
            error.add_note(f"This is about the {X.shape[0]} rows of class {label}.")
            raise


@contextmanager
def _task(context, classifier, machine, X, label):
    """Have callbacks of a classifier see the fit of one of its machines."""
    hooks = {"estimator": classifier, "X": X, "y": lambda: np.full(X.shape[0], label)}
    with context.propagate_callback_context(machine):
        context.call_on_fit_task_begin(**hooks)
        yield
    context.call_on_fit_task_end(**hooks)
