"""What fit and partial_fit do: begin or resume, train under watch, publish."""

import copy
import time
import warnings
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import joblib
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from ._data import is_binary, moments
from ._directions import DIRECTIONS
from ._fitted import attributes, new_state, state_of
from ._learning_rules import LEARNING_RULES
from ._likelihood import estimate_rows
from ._optimizers import OPTIMIZERS, SCHEDULES, apply
from ._parallel import finish, run_in_turn, workers
from ._random import make_generators
from ._start import initial_machine, inside_unit_interval, visible_units
from ._training import Step, epochs
from ._watch import Watch

_INTERRUPTED = "Training interrupted by user."
DIVERGED = (
    "The parameters diverged and the last finite ones are kept. Use a smaller "
    "learning_rate."
)

#: Below this many multiplications a step is too short to share among threads.
_SMALL_STEP = 1.5e7
#: Rows that the training free energy is taken over, spread over the data.
MONITOR_ROWS = 1000
#: The smallest variance of a Gaussian unit, as a part of the data's own.
_VARIANCE_FLOOR = 1e-6

#: Fitted attributes that not every fit sets; a fit anew forgets the last one's.
_OPTIONAL_ATTRIBUTES = (
    "location_",
    "scale_",
    "variance_",
    "lateral_coefs_",
    "lateral_intercepts_",
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
    """

    watch: Watch
    splitter: np.random.RandomState | None
    fingerprint: str


class Fitting:
    """The private side of `HelmholtzMachine.fit`, apart for its length.

    A mixin: it reads the estimator's parameters and sets fitted attributes.
    """

    def _fit(self, X, y, context):
        """Fit within a callback context."""
        go_on = self.warm_start and hasattr(self, "generative_coefs_")
        X = self._validate(X, reset=not go_on)
        splitter = check_random_state(self.random_state)
        self._run(
            X,
            y,
            context,
            splitter if self.early_stopping else None,
            lambda train: self._watch(
                self._resume() if go_on else self._begin(train, X)
            ),
        )

    def _finish(self, X, y, context):
        """Go on with an unfinished fit within a callback context."""
        watch, splitter, fingerprint = self._unfinished
        X = self._validate(X, reset=False)
        if _fingerprint(X) != fingerprint:
            raise ValueError(
                "X differs from the rows of the fit that is to be gone on with."
            )
        # The run adds its epochs again when it ends.
        self.n_iter_ -= watch.n_epochs
        n_before = len(self.free_energy_curve_) - len(watch.curve)
        self.free_energy_curve_ = self.free_energy_curve_[:n_before]
        if watch.validation_curve:
            curve = self.validation_free_energy_curve_
            n_before = len(curve) - len(watch.validation_curve)
            self.validation_free_energy_curve_ = curve[:n_before]
        self._run(X, y, context, copy.deepcopy(splitter), lambda train: watch.copy())

    def _run(self, X, y, context, splitter, start):
        """Train from the watch that `start` makes of training rows; publish.

        Parameters
        ----------
        splitter : RandomState or None
            Keeps back validation rows.

        start : callable
        """
        whole, rest, watch = X, None, None
        before = copy.deepcopy(splitter)
        if splitter is not None:
            y = None  # it would no longer belong to the rows
            X, rest = train_test_split(
                X, test_size=self.validation_fraction, random_state=splitter
            )
        # scikit-learn's score monitor wants a y; a density's target is its data.
        hooks = {"estimator": self, "X": X, "y": X if y is None else y}
        context.call_on_fit_task_begin(**hooks)
        fingerprint = cache(lambda: _fingerprint(whole))

        def snapshot():
            unfinished = Unfinished(watch.copy(), before, fingerprint())
            found = self._outcome(watch, watch.last.copy())
            return found | {"_unfinished": unfinished, "_in_callback": True}

        try:
            with workers(self.n_jobs) as team:
                watch = start(X)
                step = self._step(watch.last.copy(), X)
                self._train(step, watch, rest, team, context, hooks, snapshot)
        except KeyboardInterrupt:
            if watch is None or not watch.n_epochs:
                raise
            warnings.warn(_INTERRUPTED, stacklevel=4)
        if watch.diverged:
            warnings.warn(DIVERGED, ConvergenceWarning, stacklevel=4)
        self._publish(self._outcome(watch, watch.result))
        try:
            context.call_on_fit_task_end(
                **hooks,
                reconstruction_attributes=lambda: (
                    attributes(watch.result.copy()) | {"_in_callback": True}
                ),
            )
        except KeyboardInterrupt:
            warnings.warn(_INTERRUPTED, stacklevel=4)

    def _watch(self, state):
        """Return the watch that the stopping parameters ask for."""
        never = self.tol is None and not self.early_stopping
        return Watch(
            state,
            tol=self.tol or 0.0,
            patience=None if never else self.n_iter_no_change,
            keep_best=self.early_stopping,
        )

    def _outcome(self, watch, state):
        """Return the fitted attributes after the epochs under watch."""
        found = attributes(state) | {
            "n_iter_": self.n_iter_ + watch.n_epochs,
            "free_energy_curve_": self.free_energy_curve_ + watch.curve,
        }
        if self.early_stopping:
            before = getattr(self, "validation_free_energy_curve_", [])
            found["validation_free_energy_curve_"] = before + watch.validation_curve
        return found

    def _train(self, step, watch, rest, team, context, hooks, snapshot):
        """Run epochs until all are done, or the watch or a callback says stop."""
        evaluate = self._evaluator(step, rest, team)
        schedule = SCHEDULES[self.learning_rate_schedule]
        first = watch.n_epochs
        trainer = epochs(
            step,
            n_epochs=self.max_iter,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            learning_rate=lambda share, epoch: (
                self.learning_rate * schedule(share, epoch)
            ),
            run=self._runner(team, step),
            first=first,
        )
        started = time.perf_counter()
        while watch.n_epochs < self.max_iter and not watch.is_over:
            task = context.subcontext(task_name="epoch")
            task.call_on_fit_task_begin(**hooks)
            next(trainer)
            watch.record(step.state, evaluate)
            if self.verbose and not watch.diverged:
                spent = time.perf_counter() - started
                self._report(watch, step.rows.n_rows, spent / (watch.n_epochs - first))
            if task.call_on_fit_task_end(**hooks, reconstruction_attributes=snapshot):
                break

    def _evaluator(self, step, rest, team):
        """Return a function that gives free energies of training and kept-back rows."""
        monitored = step.rows.subset(_spread(step.rows.n_rows))
        kept = None if rest is None else self._rows(rest)

        def evaluate():
            machine = step.state.machine
            energies = [
                None
                if rows is None
                else -float(estimate_rows(machine, rows, 1, team)[0].mean())
                for rows in (monitored, kept)
            ]
            return tuple(energies)

        return evaluate

    def _report(self, watch, n_rows, per_epoch):
        """Print a line about the last epoch."""
        parts = [
            f"[{type(self).__name__}] epoch {watch.n_epochs:>4}/{self.max_iter}",
            f"free energy {watch.curve[-1]:>10.3f}",
        ]
        if watch.validation_curve:
            parts.append(f"validation {watch.validation_curve[-1]:>10.3f}")
        parts.append(f"{n_rows / per_epoch:>9.0f} rows/s")
        parts.append(f"{per_epoch * (self.max_iter - watch.n_epochs):>6.0f} s left")
        print("  ".join(parts))

    def _runner(self, team, step):
        """Return what runs a step's lanes: threads only where they pay."""
        sizes = [layer.bias.shape[0] for layer in step.state.machine.generative]
        n_rows = min(self.batch_size, step.rows.n_rows)
        products = sum(a * b for a, b in pairwise(sizes))
        work = 3 * n_rows * products * step.rule.n_particles
        return run_in_turn if work < _SMALL_STEP else team.run

    def _partial_fit(self, X):
        """Train for one pass over rows as they come."""
        first = not hasattr(self, "generative_coefs_")
        X = self._validate(X, reset=first)
        with workers(self.n_jobs) as team:
            state = self._begin(X, X) if first else self._resume()
            step = self._step(state, X)
            trainer = epochs(
                step,
                n_epochs=1,
                batch_size=self.batch_size,
                shuffle=False,
                learning_rate=lambda share, epoch: self.learning_rate,
                run=self._runner(team, step),
            )
            next(trainer)
        if not state.is_sound():
            raise ValueError(DIVERGED)
        self._publish(attributes(state) | {"n_iter_": self.n_iter_ + 1})

    def _begin(self, X, whole):
        """Return the state to start from.

        The kind of visible units is chosen from all rows, kept-back ones
        included; means and spreads are those of the training rows X.
        """
        inside, _ = inside_unit_interval(whole)
        self.visible_ = self.visible
        if self.visible == "auto":
            self.visible_ = "bernoulli" if inside else "gaussian"
        for name in _OPTIONAL_ATTRIBUTES:
            vars(self).pop(name, None)
        if self.visible_ == "gaussian":
            # Machines that are compared standardise by moments in common.
            common = getattr(self, "_common_moments", None)
            self.location_, self.scale_ = common or moments(X)
        self.n_iter_, self.free_energy_curve_ = 0, []
        generators = make_generators(self.random_state, 4)
        rows = self._rows(X)
        machine = initial_machine(
            rows,
            visible_units(self.visible_, rows),
            self._layer_sizes(),
            self.initial_activity,
            generators.pop(),
            lateral=self.lateral,
        )
        return new_state(
            machine, self._optimizer(), DIRECTIONS[self.direction], generators
        )

    def _resume(self):
        """Return the state that the last fit or partial_fit left."""
        sizes = [len(bias) for bias in self.recognition_intercepts_]
        if sizes != self._layer_sizes():
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} differs from the "
                f"fitted machine's {sizes}, which cannot go on with other layers. "
                "Use clone or warm_start=False to start anew."
            )
        state = state_of(self)
        if bool(state.machine.lateral) != self.lateral:
            raise ValueError(
                f"lateral={self.lateral!r} differs from the fitted machine's, which "
                "cannot go on so. Use clone or warm_start=False to start anew."
            )
        return self._with_present_kinds(state)

    def _with_present_kinds(self, state):
        """Return the state with memory and averages of the present parameters' kinds.

        Those of another optimiser or direction are of no use to these.
        """
        optimizer, direction = self._optimizer(), DIRECTIONS[self.direction]
        # The prior has no weights: its memory tells the kind at no cost.
        prior = state.machine.generative[-1]
        kind = optimizer.initial_state(prior).keys()
        if state.memory["generative"][-1].keys() != kind:
            fresh = new_state(state.machine, optimizer, direction, [])
            state.memory = fresh.memory
        averages = direction.initial_averages(state.machine)
        if not direction.same_kind(state.averages, averages):
            state.averages = averages
        return state

    def _optimizer(self):
        return OPTIMIZERS[self.optimizer](self.momentum)

    def _step(self, state, X):
        """Return the step that trains a state on rows."""
        rule = LEARNING_RULES[self.learning_rule]
        direction = DIRECTIONS[self.direction]
        return Step(
            state,
            self._rows(X),
            rule=rule(
                self.n_particles,
                self.wake_share,
                self.sleep_share,
                informed=direction.informed,
            ),
            direction=direction(state.averages),
            optimizer=self._optimizer(),
            apply=apply,
            resample=(
                self.resample and self.visible_ == "bernoulli" and not is_binary(X)
            ),
            penalty=self.alpha,
            variance_floor=_VARIANCE_FLOOR,
        )

    def _publish(self, found):
        """Set fitted attributes; a fit that was unfinished is so no more."""
        vars(self).pop("_unfinished", None)
        vars(self).update(found)


def _fingerprint(X):
    """Return a hash of up to 1,000 rows, spread over the data, and its shape."""
    places = _spread(X.shape[0])
    return joblib.hash((X.shape, X[places]))


def _spread(n_rows):
    """Return up to 1,000 positions spread over n_rows."""
    return np.linspace(0, n_rows - 1, min(n_rows, MONITOR_ROWS)).astype(int)


class AllOrNothing:
    """Context that leaves the estimator as it was if its block raises.

    Training works on copies, so the attributes' bindings are all there is to
    restore, and the place in the stream of a RandomState that was handed in.

    No generator: one whose end an interrupt cuts off would take everything back
    whenever it is collected.
    """

    def __init__(self, estimator):
        self.estimator = estimator
        self.before = dict(vars(estimator))
        random_state = estimator.random_state
        is_stream = isinstance(random_state, np.random.RandomState)
        self.place = random_state.get_state() if is_stream else None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            finish(self._restore)

    def _restore(self):
        vars(self.estimator).clear()
        vars(self.estimator).update(self.before)
        if self.place is not None:
            self.estimator.random_state.set_state(self.place)
