"""From what users hand in to arrays: what is refused, what is converted."""

import datetime
from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import validate_data

#: What NumPy would silently make numbers of, NaT included; and Python's, which pandas'
#: are made of.
_TIMES = (
    *(np.datetime64, np.timedelta64),
    *(datetime.date, datetime.time, datetime.timedelta),
)
_ARROW_TIMES = "date", "duration", "time"


def read(estimator, X, *y, dtype=(np.float64, np.float32), accept_sparse="csr", **how):
    """Return rows as scikit-learn validates them, with labels if there are any.

    Dense in C order or canonical CSR, of one of some floating dtypes.

    Parameters
    ----------
    estimator : BaseEstimator
    X : array-like, sparse matrix or data frame of shape (n_samples, n_features)

    *y : array-like of shape (n_samples,)
        None or one.

    dtype : sequence of dtype, default=(float64, float32)
        The first is what others are converted to.

    accept_sparse : "csr" or False, default="csr"

    **how : dict
        Passed to scikit-learn's `validate_data`.
    """
    refuse_hidden_values(X)
    how |= {"accept_sparse": accept_sparse, "dtype": list(dtype), "order": "C"}
    found = validate_data(estimator, X, *y, **how)
    X, *y = found if y else (found,)
    if X.dtype.kind != "f":  # scikit-learn leaves sparse data frames as they are
        X = X.astype(dtype[0])
    if sp.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return (X, *y) if y else X


def refuse_hidden_values(X):
    """Raise if X holds what a conversion to floats would silently misread."""
    refuse_masked(X, "X")
    if _holds_times(X):
        raise ValueError(
            "X holds dates or times, whose missing values would be read as numbers. "
            "Convert them to floats."
        )


def refuse_masked(values, name):
    """Raise if there are masked values in an array, or in a list of arrays."""
    rows = values if isinstance(values, (list, tuple)) else [values]
    if any(np.ma.is_masked(row) for row in rows):
        raise ValueError(
            f"{name} is a masked array with masked values, which would be read as if "
            f"they were valid. Fill them in with {name}.filled."
        )


def _holds_times(X):
    """Return whether an array, a data frame or nested lists hold dates or times."""
    arrow = getattr(getattr(X, "schema", None), "types", ())
    if any(str(kind).startswith(_ARROW_TIMES) for kind in arrow):
        return True
    if not hasattr(X, "dtype") and not hasattr(X, "dtypes"):
        try:
            X = np.asarray(X)
        except (ValueError, TypeError):
            return False  # scikit-learn will say what is wrong with it
    # A data frame's dtype may be a column, a series' dtypes are its dtype.
    dtypes = (
        X.dtypes if np.ndim(getattr(X, "dtypes", None)) else [getattr(X, "dtype", None)]
    )
    kinds = [getattr(dtype, "kind", "") for dtype in dtypes]
    if {"m", "M"} & set(kinds):
        return True
    if any(getattr(dtype, "is_temporal", bool)() for dtype in dtypes):  # of Polars
        return True
    if any(str(dtype).startswith("period") for dtype in dtypes):  # of pandas
        return True
    objects = [place for place, kind in enumerate(kinds) if kind == "O"]
    is_frame = hasattr(X, "iloc") and X.ndim == 2
    parts = [X.iloc[:, place] for place in objects] if is_frame else [X]
    return bool(objects) and any(
        isinstance(value, _TIMES) for part in parts for value in np.asarray(part).flat
    )


def positive(name, value):
    """Return value if it is a positive integer."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}.")
    return int(value)
