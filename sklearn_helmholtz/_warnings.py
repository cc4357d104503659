"""Warnings that point at the line which they are about: the user's."""

import inspect
import warnings

#: Packages whose code may stand between the user's and what warns.
_BETWEEN = {__package__, "sklearn", "joblib"}


def warn_caller(message, category=UserWarning):
    """Warn of the line outside these packages that led here: a pipeline's call, say.

    Parameters
    ----------
    message : str
    category : type, default=UserWarning
    """
    frame, level = inspect.currentframe(), 1
    while frame and frame.f_globals.get("__name__", "").split(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
