"""All or nothing: an estimator that a call which raises leaves as it was."""

import threading
from contextlib import contextmanager

import numpy as np

from ._parallel import finish

#: What scikit-learn needs to tear callbacks down when a fit has failed.
_OF_CALLBACKS = "_callback_fit_ctx", "_skl_callbacks_to_teardown"


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
        present = vars(self.estimator)
        kept = {name: present[name] for name in _OF_CALLBACKS if name in present}
        present.clear()
        present.update(self.before | kept)
        if self.place is not None:
            self.estimator.random_state.set_state(self.place)


class _Interrupts(threading.local):
    """Whether a fit of this thread that is interrupted ends with what it has."""

    kept = True


_interrupts = _Interrupts()


def keeps_interrupted():
    """Return whether an interrupted fit is to end with what it has, not to raise."""
    return _interrupts.kept


@contextmanager
def whole_fits():
    """Have fits that are interrupted within the block raise: for parts of a whole."""
    before, _interrupts.kept = _interrupts.kept, False
    try:
        yield
    finally:
        _interrupts.kept = before
