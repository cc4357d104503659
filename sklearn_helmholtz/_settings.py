"""From the estimator's parameters to the parts of training."""

import math
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
from sklearn.utils.validation import _num_samples

from ._data import is_binary
from ._directions import DIRECTIONS, longest_parents
from ._fitted import new_memory
from ._learning_rules import LEARNING_RULES
from ._optimizers import OPTIMIZERS
from ._parallel import has_lock
from ._penalties import Evidence, Fixed, pull_of_parents, share_of_evidence
from ._training import Step, n_minibatches
from ._wake_sleep import WakeSleepStep

#: Below this many multiplications, in float32, a step is too short to share among
#: threads: at each call into NumPy they hand Python's lock to each other.
_SMALL_STEP = 1.9e7
#: The passes over the parameters take as long as products of so many rows.
_ROWS_OF_PASSES = 20
#: Several particles, or one that moves, take so many times as many calls.
_CALLS_OF_PARTICLES = 4
#: And where Python has no lock, they pay from this part of that many on.
_WITHOUT_LOCK = 0.5
#: Between how many epochs max_iter="auto" chooses, by the number of steps in them.
_LEAST_EPOCHS = 50
_MOST_EPOCHS = 200
#: Minibatches without improvement, and epochs, after which n_iter_no_change="auto"
#: stops: a fit with few rows is worse than at its start for some dozens.
_PATIENCE = 200
_LEAST_PATIENCE = 10
#: The parameters that a learning rule is made of, in its order.
_OF_RULES = "n_particles", "wake_share", "sleep_share", "n_moves"
#: With fewer rows learning_rate="auto" is smaller.
_FEW_ROWS = 40
#: The most momentum, and the fewest rows of a minibatch, that usual rates are for.
_USUAL_MOMENTUM = 0.9
_USUAL_MINIBATCH = 100
#: Steps of less are lost beside any parameter, and underflow on the way there.
_SMALLEST_RATE = 1e-25


class Settings:
    """What training's parts are, as the estimator's parameters say.

    A mixin: it reads the parameters, and nothing of what is fitted but `visible_`.
    """

    def _number(self, name):
        """Return a parameter as Python's int or float, if it is a number.

        NumPy's would make every product with them float64, or wrap around.
        """
        value = getattr(self, name)
        if isinstance(value, Integral):
            return int(value)
        return float(value) if isinstance(value, Real) else value

    def _layer_sizes(self):
        """Return hidden_layer_sizes as a list."""
        sizes = np.atleast_1d(self.hidden_layer_sizes)
        whole = np.issubdtype(sizes.dtype, np.integer)
        if sizes.ndim != 1 or not sizes.size or not whole:
            raise ValueError(
                "hidden_layer_sizes must be one or more integers, got "
                f"{self.hidden_layer_sizes!r}."
            )
        if (sizes < 1).any():
            raise ValueError(
                f"hidden_layer_sizes must be > 0, got {self.hidden_layer_sizes!r}."
            )
        return sizes.tolist()

    def _check_code(self, n_layers):
        """Raise if `code`, which may change after a fit, names none of so many."""
        if self.code in ("all", "top"):
            return
        if not isinstance(self.code, Integral) or not -n_layers <= self.code < n_layers:
            raise ValueError(
                f"code={self.code!r} is neither 'all' nor 'top', and not the index of "
                f"a hidden layer: there are {n_layers}."
            )

    def _check_parameters(self):
        """Raise if parameters, each of which is valid, do not go together.

        Called before anything else is done, so that nothing is done in vain.
        """
        self._check_code(len(self._layer_sizes()))
        if LEARNING_RULES[self.learning_rule].shares_weights:
            self._check_sharing()

    def _check_sharing(self):
        """Raise if others do not go with a rule whose networks share their weights."""
        if DIRECTIONS[self.direction].informed:
            raise ValueError(
                f"direction={self.direction!r} measures each network by itself, which "
                f"would part the weights that learning_rule={self.learning_rule!r} "
                "shares. Choose direction='centred' or 'plain'."
            )
        if self.autoregressive:
            raise ValueError(
                f"learning_rule={self.learning_rule!r} has no place for visible units "
                "that see each other. Choose another rule, or autoregressive=False."
            )
        if self.alpha == "evidence":
            raise ValueError(
                "alpha='evidence' learns priors of generative weights, which "
                f"learning_rule={self.learning_rule!r} shares with recognition. Choose "
                "alpha='auto' or a number."
            )

    def _check_goes_on(self, machine):
        """Raise if training cannot go on with a machine as the parameters are."""
        sizes = [len(layer.bias) for layer in machine.recognition]
        same = {
            "hidden_layer_sizes": sizes == self._layer_sizes(),
            "visible": self.visible in ("auto", self.visible_),
            "lateral": bool(machine.lateral) == self.lateral,
            "autoregressive": bool(machine.autoregressive) == self.autoregressive,
            "learning_rule": _can_go_on(self.learning_rule, machine),
        }
        for name, agrees in same.items():
            if not agrees:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} does not fit what the machine "
                    "has been fitted as, so it cannot go on. To start anew, use clone, "
                    "or fit with warm_start=False."
                )

    def _n_epochs(self, n_rows):
        """Return `max_iter`, or what "auto" stands for with so many rows."""
        if self.max_iter != "auto":
            return self._number("max_iter")
        least_steps = LEARNING_RULES[self.learning_rule].least_steps
        enough = self._epochs_of(least_steps, n_rows)
        return min(max(enough, _LEAST_EPOCHS), _MOST_EPOCHS)

    def _epochs_of(self, n_steps, n_rows):
        """Return how many epochs so many rows take for so many minibatches."""
        an_epoch = n_minibatches(n_rows, self._number("batch_size"))
        return math.ceil(n_steps / max(1, an_epoch))

    def _planned_epochs(self, X):
        """Return the same for data that are not yet validated."""
        try:
            n_rows = _num_samples(X)
        except TypeError:
            n_rows = 0  # validation will say what is wrong with them
        return self._n_epochs(n_rows)

    def _stopping(self, n_epochs, n_rows):
        """Return when a watch of training on so many rows is to say stop."""
        never = self.tol is None and not self.early_stopping
        patience = self._number("n_iter_no_change")
        if patience == "auto":
            patience = max(_LEAST_PATIENCE, self._epochs_of(_PATIENCE, n_rows))
        return {
            "tol": self._number("tol") or 0.0,
            "patience": None if never else patience,
            "most_epochs": n_epochs,
        }

    def _kept_back(self):
        """Return the part of the rows that a fit keeps back, None without any."""
        return self.validation_fraction if self.early_stopping else None

    def _rate(self, n_rows=None):
        """Return the learning rate, or what suits the rest for "auto".

        Of few rows, the same in every step, all layers become certain, and score other
        rows by hundreds of nats less than independent units do. The noise that
        parameters are left with is as the rate over a minibatch's rows, times the steps
        that momentum adds up. A rate that ends at 0 takes away that of the rows, unless
        there are very few of them.

        Parameters
        ----------
        n_rows : int, default=None
            How many there are; None for a stream, whose rate stays as it is.
        """
        if self.learning_rate != "auto":
            return max(self._number("learning_rate"), _SMALLEST_RATE)
        if usual := OPTIMIZERS[self.optimizer].usual_rate:
            return usual
        usual = DIRECTIONS[self.direction].usual_rate
        usual *= LEARNING_RULES[self.learning_rule].rate_factor
        calm = (1 - self._number("momentum")) / (1 - _USUAL_MOMENTUM)
        batch_size, enough = self._number("batch_size"), 1.0
        if n_rows is None or self.learning_rate_schedule != "linear":
            calm *= batch_size / _USUAL_MINIBATCH
        else:
            enough = batch_size / DIRECTIONS[self.direction].least_minibatch
        usual *= min(1, calm)
        if n_rows is not None:
            # Whichever asks for less: a product would leave few rows nothing.
            usual *= min(1, enough, (n_rows / _FEW_ROWS) ** 2)
        return usual

    def _optimizer(self):
        return OPTIMIZERS[self.optimizer](self._number("momentum"))

    def _penalty(self, rule, state, n_rows, binary):
        """Return the penalty of parameters that have n_rows to explain.

        See :class:`._penalties.Penalty` for `binary`.
        """
        auto = self.alpha == "auto"
        alpha = rule.usual_penalty if auto else self._number("alpha")
        if alpha != "evidence":
            return Fixed(alpha, binary, n_rows)
        share = share_of_evidence(state.machine, n_rows) if auto else 1.0
        return Evidence(
            state.scales,
            n_rows,
            share,
            self._number("batch_size"),
            binary,
            of_parents=pull_of_parents(state.machine),
        )

    def _resamples(self, rows):
        """Return whether rows are to be drawn to binary at every visit."""
        resample = self.resample
        if resample == "auto":
            resample = LEARNING_RULES[self.learning_rule].resamples
        return resample and self.visible_ == "bernoulli" and not is_binary(rows.X)

    def _step(self, state, rows, n_rows=None, n_rows_a_step=0):
        """Return the step that trains a state on rows in the machine's units.

        They may be part of n_rows that there are, and of as many more for each step.
        """
        direction = DIRECTIONS[self.direction]
        rule = LEARNING_RULES[self.learning_rule]
        rule = rule(*map(self._number, _OF_RULES), informed=direction.informed)
        n_rows = n_rows or rows.n_rows
        minibatch = min(self._number("batch_size"), n_rows)
        known = () if n_rows_a_step else (n_rows, minibatch, rule.length_factor)
        all_known = self.visible_ == "bernoulli" and not n_rows_a_step
        binary = rows if all_known else None
        step = Step(
            state,
            rows,
            rule=rule,
            direction=direction(
                state.averages, lambda n_parents: longest_parents(n_parents, *known)
            ),
            optimizer=self._optimizer(),
            resample=self._resamples(rows),
            penalty=self._penalty(rule, state, n_rows, binary),
            n_rows=n_rows,
            n_rows_a_step=n_rows_a_step,
            small=self._is_small(state.machine, rule, rows),
        )
        if WakeSleepStep.fits(step):
            step.in_few_calls = WakeSleepStep(step)
        return step

    def _is_small(self, machine, rule, rows):
        """Return whether steps are too short for threads, whatever n_jobs is."""
        sizes = [len(layer.bias) for layer in machine.generative]
        n_rows = min(self._number("batch_size"), rows.n_rows)
        products = sum(a * b for a, b in pairwise(sizes))
        work = 3 * products * (n_rows * rule.n_particles + _ROWS_OF_PASSES)
        work *= machine.dtype.itemsize / np.dtype(np.float32).itemsize
        if rule.n_particles > 1 or rule.n_moves:
            work /= _CALLS_OF_PARTICLES if has_lock() else _WITHOUT_LOCK
        return work < _SMALL_STEP

    def _with_present_kinds(self, state):
        """Return the state with memory and averages of the present parameters' kinds.

        Those of another optimiser or direction are of no use to these.
        """
        optimizer, direction = self._optimizer(), DIRECTIONS[self.direction]
        # The prior has no weights: its memory tells the kind at no cost.
        prior = state.machine.generative[-1]
        kind = optimizer.initial_state(prior).keys()
        if state.memory and state.memory["generative"][-1].keys() != kind:
            state.memory = new_memory(state.machine, optimizer)
        if not direction.keeps(state.averages):
            state.averages = direction.initial_averages(state.machine)
        return state


def _can_go_on(learning_rule, machine):
    """Return whether a machine's networks share their weights if the rule's must."""
    pairs = zip(machine.generative, machine.recognition, strict=False)
    return not LEARNING_RULES[learning_rule].shares_weights or all(
        np.array_equal(down.weights, up.weights.T) for down, up in pairs
    )
