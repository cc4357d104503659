"""Finds the benchmarks' data: a folder, HELMHOLTZ_DATA, or OpenML for MNIST."""

import os
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml

_N_TRAIN = 60_000


def folder(given=None):
    """Return the data's folder as a Path, or None where none was named.

    Parameters
    ----------
    given : str or None, default=None
        Goes before the environment variable HELMHOLTZ_DATA.
    """
    found = given or os.environ.get("HELMHOLTZ_DATA")
    return Path(found) if found else None


def mnist(data=None):
    """Return MNIST in its own order: X_train, y_train, X_test, y_test.

    Parameters
    ----------
    data : Path or None, default=None
        A folder that holds mnist.npz; without that file OpenML is asked.

    Returns
    -------
    X_train, X_test : ndarray of shape (n_rows, 784), float32 in [0, 1]
    y_train, y_test : ndarray of shape (n_rows,), int
    """
    if data is not None and (data / "mnist.npz").exists():
        with np.load(data / "mnist.npz") as held:
            names = "train_x", "train_y", "test_x", "test_y"
            parts = [held[name] for name in names]
    else:
        X, y = fetch_openml("mnist_784", return_X_y=True, as_frame=False)
        parts = [X[:_N_TRAIN], y[:_N_TRAIN], X[_N_TRAIN:], y[_N_TRAIN:]]
    X_train, y_train, X_test, y_test = parts
    return _grey(X_train), y_train.astype(int), _grey(X_test), y_test.astype(int)


def _grey(X):
    """Return bytes as float32 rows in [0, 1]."""
    return X.reshape(len(X), -1).astype(np.float32) / 255


def binary_sets(path, name):
    """Return (train, valid, test) of a binary set as float32 rows.

    MNIST's binarised rows are put into MNIST's own order first, as the file has
    them sorted by digit: the first 50,000 train, the next 10,000 validate.
    """
    if name != "mnist":
        with np.load(path / f"{name}.npz") as found:
            return tuple(
                found[k].astype(np.float32) for k in ("train", "valid", "test")
            )
    with np.load(path / "mnist_binarized_fixed.npz") as found:
        order = np.argsort(found["train_mnist_index"])
        train = found["train_x"][order].reshape(-1, 784).astype(np.float32)
        test = found["test_x"].reshape(-1, 784).astype(np.float32)
    return train[:50_000], train[50_000:], test
