"""What fit and partial_fit do: begin or resume, train under watch, publish.

Longer than most modules here, as fit, resume and partial_fit are one story.
"""

import copy
import math
import time
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state

from ._atomic import keeps_interrupted
from ._data import moments
from ._directions import DIRECTIONS
from ._fitted import attributes, new_memory, new_state, state_of
from ._learning_rules import LEARNING_RULES
from ._likelihood import BLOCK_STATES, estimate_rows
from ._optimizers import SCHEDULES
from ._parallel import hold_one_blas_thread, workers
from ._penalties import measure_rows
from ._random import make_generators, mix64
from ._settings import Settings
from ._start import initial_machine, visible_kind
from ._training import epochs, n_minibatches
from ._warnings import warn_caller
from ._watch import Watch

_INTERRUPTED = "Training interrupted by user."
DIVERGED = (
    "The parameters diverged and the last finite ones are kept. Use a smaller "
    "learning_rate."
)

UNDONE = (
    "The parameters diverged, and the call is undone. Use a smaller learning_rate, and "
    "look for rows far from the others."
)

#: Rows that the training free energy is taken over, spread over the data.
MONITOR_ROWS = 1000

#: Fitted attributes that not every fit sets; a fit anew forgets the last one's.
_OPTIONAL_ATTRIBUTES = (
    "location_",
    "scale_",
    "variance_",
    "_least_variance",
    "lateral_coefs_",
    "lateral_intercepts_",
    "autoregressive_coef_",
    "autoregressive_intercept_",
    "validation_free_energy_curve_",
)


class Unfinished(NamedTuple):
    """What a fit, besides the fitted attributes, needs to be gone on with.

    Parameters
    ----------
    watch : Watch
        With the state, and all that stopping depends on.

    splitter : RandomState or None
        What kept back the validation rows, as it was before it did.

    fingerprint : str
        Of the rows.

    validation_fraction : float or None
        Part of the rows that is kept back, None if there is no such part.
    """

    watch: Watch
    splitter: np.random.RandomState | None
    fingerprint: str
    validation_fraction: float | None


class Fitting(Settings):
    """The private side of `HelmholtzMachine.fit`, apart for its length.

    A mixin: it reads the estimator's parameters and sets fitted attributes. Of the
    estimator it needs besides `_validate`, which gives rows as the data has them,
    `_in_units`, which gives them in the machine's units, and `_log_jacobian`, the
    difference that makes to a log density.
    """

    def _fit(self, X, y, context, n_epochs):
        """Fit within a callback context."""
        go_on = self.warm_start and hasattr(self, "generative_coefs_")
        self._check_parameters()
        rows = self._validate(X, reset=not go_on)
        splitter = check_random_state(self.random_state)
        self._run(
            rows,
            X,
            y,
            context,
            splitter if self.early_stopping else None,
            lambda part: self._watch(
                self._last_state() if go_on else self._begin(part),
                n_epochs,
                part.n_rows,
                goes_on=go_on,
            ),
        )

    def _resume_fit(self, X, y, context, n_epochs):
        """Go on with an unfinished fit within a callback context."""
        watch, splitter, *_ = self._unfinished
        self._check_parameters()
        rows = self._check_same_fit(X)
        # The run adds its epochs again when it ends.
        self.n_iter_ -= watch.n_epochs
        n_before = len(self.free_energy_curve_) - len(watch.curve)
        for name in ("free_energy_curve_", "validation_free_energy_curve_"):
            if hasattr(self, name):
                setattr(self, name, getattr(self, name)[:n_before])

        def start(part):
            found = watch.copy()
            found.stop_when(**self._stopping(n_epochs, part.n_rows))
            if found.diverged:
                found.state, found.diverged = self._with_memory(found.kept), False
            for state in (found.state, found.kept):  # which may be one
                self._with_present_kinds(state)
            return found

        self._run(rows, X, y, context, copy.deepcopy(splitter), start)

    def _check_same_fit(self, X):
        """Return the rows, if they and the parameters are the unfinished fit's."""
        watch, _, fingerprint, validation_fraction = self._unfinished
        self._check_goes_on(watch.kept.machine)
        if self._kept_back() != validation_fraction:
            raise ValueError(
                f"early_stopping={self.early_stopping} and validation_fraction="
                f"{self.validation_fraction} would keep back other rows than the "
                "unfinished fit did."
            )
        rows = self._validate(X, reset=False)
        if _fingerprint(rows.X) != fingerprint:
            raise ValueError("X differs from the rows of the unfinished fit.")
        return rows

    def _run(self, given, X, y, context, splitter, start):
        """Train from the watch that `start` makes of training rows; publish.

        Parameters
        ----------
        given : Rows
            All of the data.

        X : array-like
            The same, as the user gave it: for callbacks, which call public methods.

        splitter : RandomState or None
            Keeps back validation rows.

        start : callable
        """
        watch, before = None, copy.deepcopy(splitter)
        rows, kept_back = self._split(given, splitter)

        @cache
        def data():
            return X if rows is given else _part_of(X, rows)

        # scikit-learn's score monitor wants a y; a density's target is its data,
        # and a y would no longer belong to rows of which some are kept back.
        y = data if y is None or kept_back is not None else y
        hooks = {"estimator": self, "X": data, "y": y}
        context.call_on_fit_task_begin(**hooks)
        fingerprint = cache(lambda: _fingerprint(given.X))

        def snapshot():
            return self._snapshot(watch, before, fingerprint())

        try:
            with workers(self.n_jobs) as team:
                watch = start(rows)
                self._train(watch, rows, kept_back, team, context, hooks, snapshot)
        except KeyboardInterrupt:
            if not keeps_interrupted() or watch is None or not watch.n_epochs:
                raise
            warn_caller(_INTERRUPTED)
        self._publish_result(watch, context, hooks)

    def _snapshot(self, watch, splitter, fingerprint):
        """Return the attributes of a fit under way, with what it can be resumed by.

        Parameters
        ----------
        watch : Watch

        splitter : RandomState or None
            As it was before it kept back rows.

        fingerprint : str
        """
        present = watch.copy()
        state = present.kept if present.diverged else present.state
        found = self._outcome(present, self._with_memory(state))
        unfinished = Unfinished(present, splitter, fingerprint, self._kept_back())
        return found | {"_unfinished": unfinished} | _for_callbacks()

    def _publish_result(self, watch, context, hooks):
        """Set the fitted attributes after a run, and tell callbacks of its end."""
        if watch.diverged:
            warn_caller(DIVERGED, ConvergenceWarning)
        if watch.kept is not watch.state:
            watch.state.memory = None  # which leaves room for the new one
        result = self._with_memory(watch.kept)
        self._publish(self._outcome(watch, result))
        try:
            context.call_on_fit_task_end(
                **hooks,
                reconstruction_attributes=lambda: (
                    attributes(result.copy()) | _for_callbacks()
                ),
            )
        except KeyboardInterrupt:
            if not keeps_interrupted():
                raise
            warn_caller(_INTERRUPTED)

    def _split(self, rows, splitter):
        """Return the rows to train on, and those that the splitter keeps back."""
        if splitter is None:
            return rows, None
        train, kept_back = train_test_split(
            np.arange(rows.n_rows),
            test_size=self.validation_fraction,
            random_state=splitter,
        )
        return rows.subset(train), rows.subset(kept_back)

    def _watch(self, state, n_epochs, n_rows, *, goes_on):
        """Return the watch that the stopping parameters ask for."""
        how = self._stopping(n_epochs, n_rows)
        return Watch(state, keep_best=self.early_stopping, goes_on=goes_on, **how)

    def _outcome(self, watch, state):
        """Return the fitted attributes after the epochs under watch."""
        before = self.free_energy_curve_
        found = attributes(state) | {
            "n_iter_": self.n_iter_ + watch.n_epochs,
            "free_energy_curve_": before + watch.curve,
        }
        kept_back = getattr(self, "validation_free_energy_curve_", None)
        if self.early_stopping or kept_back is not None:
            # An entry an epoch; some fits of a warm start may have kept back no rows.
            kept_back = [math.nan] * len(before) if kept_back is None else kept_back
            news = watch.validation_curve or [math.nan] * watch.n_epochs
            found["validation_free_energy_curve_"] = kept_back + news
        return found

    def _with_memory(self, state):
        """Return the state with memory, new where training has gone on since."""
        if state.memory is None:
            state.memory = new_memory(state.machine, self._optimizer())
        return state

    def _train(self, watch, rows, kept_back, team, context, hooks, snapshot):
        """Run epochs until all are done, or the watch or a callback says stop."""
        step = self._step(watch.state, self._in_units(rows))
        monitored = step.rows.subset(spread(step.rows.n_rows))
        evaluate = self._evaluator(step, monitored, kept_back, team)
        rate = self._rate(step.rows.n_rows)
        schedule = SCHEDULES[self.learning_rate_schedule]
        first = watch.n_epochs
        batch_size = self._number("batch_size")
        n_steps = watch.most_epochs * n_minibatches(step.rows.n_rows, batch_size)
        watch.begin(evaluate)
        step.begin()
        trainer = epochs(
            step,
            n_epochs=watch.most_epochs,
            batch_size=batch_size,
            shuffle=self.shuffle,
            learning_rate=lambda share, epoch: rate * schedule(share, epoch),
            run=team.run,
            first=first,
        )
        started = time.perf_counter()
        # An interrupt may come anywhere: what is whole when depends on the order here.
        while not watch.is_over:
            task = context.subcontext(task_name="epoch")
            task.call_on_fit_task_begin(**hooks)
            watch.secure()
            hold_one_blas_thread()
            if step.penalty.learns and step.state.n_steps:
                machine, done = step.state.machine, step.state.n_steps / n_steps
                moments = measure_rows(machine, monitored, team, self._block_rows())
                step.penalty.learn(machine, moments, done)
            next(trainer)
            watch.record(evaluate)
            if self.verbose and not watch.diverged:
                spent = time.perf_counter() - started
                self._report(watch, step.rows.n_rows, spent / (watch.n_epochs - first))
            if task.call_on_fit_task_end(**hooks, reconstruction_attributes=snapshot):
                break

    def _block_rows(self):
        """Return how many rows are weighed at once after an epoch.

        No more than training has in work, nor so few that calls count.
        """
        return min(BLOCK_STATES, max(self._number("batch_size"), BLOCK_STATES // 8))

    def _evaluator(self, step, monitored, kept_back, team):
        """Return a function that gives the free energies of both kinds of rows."""
        kept = None if kept_back is None else self._in_units(kept_back)
        states = self._block_rows()

        def energy(rows):
            found = estimate_rows(
                step.state.machine, rows, 1, team, block_states=states
            )
            return self._log_jacobian() - float(found.log_likelihood.mean())

        def evaluate():
            return energy(monitored), None if kept is None else energy(kept)

        return evaluate

    def _report(self, watch, n_rows, per_epoch):
        """Print a line about the last epoch."""
        parts = [
            f"[{type(self).__name__}] epoch {watch.n_epochs:>4}/{watch.most_epochs}",
            f"free energy {watch.curve[-1]:>10.3f}",
        ]
        if watch.validation_curve:
            parts.append(f"validation {watch.validation_curve[-1]:>10.3f}")
        parts.append(f"{n_rows / per_epoch:>9.0f} rows/s")
        n_left = watch.most_epochs - watch.n_epochs
        parts.append(f"{per_epoch * n_left:>6.0f} s left")
        print("  ".join(parts))

    def _partial_fit(self, X):
        """Train for one pass over rows as they come."""
        first = not hasattr(self, "generative_coefs_")
        self._check_parameters()
        rows = self._validate(X, reset=first)
        with workers(self.n_jobs) as team:
            state = self._begin(rows) if first else self._last_state()
            batch_size = self._number("batch_size")
            n_rows = min(rows.n_rows, batch_size)
            # About: of the steps before, the sizes are not known.
            many = {"n_rows": n_rows, "n_rows_a_step": batch_size}
            step = self._step(state, self._in_units(rows), **many)
            # A row of a small call counts as much as one of a large one.
            part = n_rows / batch_size
            rate = self._rate() * part
            step.begin(part)
            trainer = epochs(
                step,
                n_epochs=1,
                batch_size=batch_size,
                shuffle=False,
                learning_rate=lambda share, epoch: rate,
                run=team.run,
            )
            next(trainer)
        if not state.is_sound():
            raise ValueError(UNDONE)
        self._publish(attributes(state) | {"n_iter_": self.n_iter_ + 1})

    def _begin(self, rows):
        """Return the state to start from.

        The kind of visible units is chosen from all data, kept-back rows
        included; means and spreads are those of the training rows.

        Parameters
        ----------
        rows : Rows
            To train on, as they are in the data.
        """
        # What machines that are compared have in common, see HelmholtzClassifier.
        alone = self.visible, None, None
        kind, measure, steps = vars(self).pop("_in_common", alone)
        self.visible_ = visible_kind(kind, rows)
        for name in _OPTIONAL_ATTRIBUTES:
            vars(self).pop(name, None)
        if self.visible_ == "gaussian":
            self.location_, self.scale_ = measure or moments(rows)
        self.n_iter_, self.free_energy_curve_ = 0, []
        generators = make_generators(self.random_state, 4)
        machine = initial_machine(
            self._in_units(rows),
            self.visible_,
            self._layer_sizes(),
            self._number("initial_activity"),
            generators.pop(),
            lateral=self.lateral,
            autoregressive=self.autoregressive,
            shared=LEARNING_RULES[self.learning_rule].shares_weights,
            steps=steps,
        )
        if steps is not None:
            self._least_variance = machine.generative[0].units.least
        return new_state(
            machine, self._optimizer(), DIRECTIONS[self.direction], generators
        )

    def _last_state(self):
        """Return the state that the last fit or partial_fit left."""
        state = state_of(self)
        self._check_goes_on(state.machine)
        return self._with_present_kinds(state)

    def _publish(self, found):
        """Set fitted attributes; a fit that was unfinished is so no more."""
        vars(self).pop("_unfinished", None)
        vars(self).update(found)


def _for_callbacks():
    """Return attributes of machines that callbacks are given.

    Such a machine has the run's context, but the run's callbacks are not its own to
    tear down: `partial_fit` would, in one that a callback has kept.
    """
    return {"_in_callback": True, "_skl_callbacks_to_teardown": []}


def _fingerprint(X):
    """Return a hash of up to 1,000 rows, spread over the data, and its shape.

    Of their values: it does not matter what holds them.
    """
    part = sp.csr_array(X[spread(X.shape[0])])
    part.eliminate_zeros()
    indices = (array.astype(np.int64) for array in (part.indptr, part.indices))
    return joblib.hash((X.shape, *indices, part.data))


def _part_of(X, rows):
    """Return rows of the user's X: of a frame with its names, if it can be indexed."""
    if hasattr(X, "columns"):
        with suppress(AttributeError, TypeError):
            return _safe_indexing(X, rows.positions)
    return rows.X[rows.positions]


def spread(n_rows):
    """Return up to 1,000 positions spread over n_rows, in their order.

    One of each of so many even parts, here and there in them: where kinds of rows take
    turns, those at equal distances may all be of one kind.
    """
    n_parts = min(n_rows, MONITOR_ROWS)
    stops = n_rows * np.arange(n_parts + 1) // n_parts
    where = mix64(np.arange(n_parts, dtype=np.uint64)) / 2.0**64
    return stops[:-1] + (where * np.diff(stops)).astype(int)
