"""Bad and unusual input: every row of the tables in doc/reliability.md.

A refusal comes in scikit-learn's words before any fitted attribute changes;
what is taken gives the result that the table promises.
"""

import pickle
import re
import tempfile
from datetime import datetime, time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from helpers import binary_rows, parameters
from oracles import all_states
from sklearn.utils import check_array

from sklearn_helmholtz import HelmholtzClassifier, HelmholtzMachine

DOC = Path(__file__).parents[1] / "doc" / "reliability.md"
SETTINGS = {"hidden_layer_sizes": (6, 4), "max_iter": 3, "random_state": 0}
X = binary_rows(60)
REAL = np.random.default_rng(1).normal(3, 2, (60, 9))
NAMES = [f"feature {letter}" for letter in "abcdefghi"]
FIT, PARTIAL_FIT = "fit", "partial_fit"
AFTER = "transform", "score_samples", "log_likelihood", "exact_log_likelihood"


def table(heading):
    """Return the rows of the table below a heading, as lists of cells."""
    text = DOC.read_text(encoding="utf-8").split(f"### {heading}\n")[1]
    lines = text.split("\n#")[0].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    return {row[0]: row[1:] for row in cells[2:]}


def words_of(name):
    """Return a pattern of the words in which some data is refused."""
    return re.escape(table("Refused")[name][1].strip("`"))


def changed(value, data=X, dtype=float):
    """Return the rows with one value changed."""
    data = np.array(data, dtype=dtype)
    data[3, 2] = value
    return data


def frame(data=X, names=NAMES):
    return pd.DataFrame(data, columns=names)


# -------------------------------------------------------------------- refused

EVERYWHERE = FIT, PARTIAL_FIT, *AFTER
GOING_ON = PARTIAL_FIT, *AFTER
BERNOULLI = {"visible": "bernoulli"}

#: Data, the methods that refuse it, and settings of the machine.
REFUSED = {
    "NaN": (changed(np.nan), EVERYWHERE, {}),
    "inf": (changed(np.inf), EVERYWHERE, {}),
    "-inf": (changed(-np.inf), EVERYWHERE, {}),
    "NaN in sparse data": (sp.csr_array(changed(np.nan)), EVERYWHERE, {}),
    "values beyond float64": ([["1e999"] * 9] * 4, EVERYWHERE, {}),
    "columns that spread over more than float64 holds": (
        np.where(X > 0, 1.7e308, -1.7e308),
        (FIT,),
        {},
    ),
    "missing values of pandas": (frame().astype("Int64").mask(X > 0), EVERYWHERE, {}),
    "complex numbers": (changed(1j, dtype=complex), EVERYWHERE, {}),
    "complex sparse data": (
        sp.csr_array(changed(1j, dtype=complex)),
        EVERYWHERE,
        {},
    ),
    "strings": (np.full((4, 9), "a"), EVERYWHERE, {}),
    "objects that are no numbers": (np.full((4, 9), {}, object), EVERYWHERE, {}),
    "dates": (np.full((4, 9), np.datetime64("2020-01-01")), EVERYWHERE, {}),
    "dates in a data frame": (
        frame().assign(**{NAMES[0]: pd.Timestamp("2020-01-01")}),
        EVERYWHERE,
        {},
    ),
    "dates in a frame of Polars": (
        pl.DataFrame({str(j): [datetime(2020, 1, 1), None] for j in range(9)}),
        EVERYWHERE,
        {},
    ),
    "dates in lists": ([[np.datetime64("NaT", "D")] * 9] * 4, EVERYWHERE, {}),
    "dates in a column named dtype": (
        pd.DataFrame({"dtype": pd.to_datetime(["2020-01-01", None])}),
        EVERYWHERE,
        {},
    ),
    "dates in a table of Arrow": (
        pa.table({"a": pa.array([datetime(2020, 1, 1), None])}),
        EVERYWHERE,
        {},
    ),
    "dates among objects": (
        changed(np.timedelta64(1, "s"), dtype=object),
        EVERYWHERE,
        {},
    ),
    "dates of Python and pandas": (
        changed(pd.Timestamp("2020-01-01"), dtype=object),
        EVERYWHERE,
        {},
    ),
    "times of day": (changed(time(12), dtype=object), EVERYWHERE, {}),
    "dates that are periods": (
        pd.DataFrame({"a": pd.period_range("2020-01", periods=4, freq="M")}),
        EVERYWHERE,
        {},
    ),
    "masked values": (np.ma.masked_array(X, X > 0), EVERYWHERE, {}),
    "masked rows in a list": (list(np.ma.masked_array(X, X > 0)), EVERYWHERE, {}),
    "rows of unequal length": ([[1.0, 0.0], [1.0]], EVERYWHERE, {}),
    "no rows": (X[:0], EVERYWHERE, {}),
    "no rows, sparse": (sp.csr_array((0, 9)), EVERYWHERE, {}),
    "no features": (X[:, :0], EVERYWHERE, {}),
    "one dimension": (X[0], EVERYWHERE, {}),
    "a series of pandas": (pd.Series(X[0]), EVERYWHERE, {}),
    "a series of objects": (pd.Series(X[0], dtype=object), EVERYWHERE, {}),
    "three dimensions": (X[None], EVERYWHERE, {}),
    "a scalar": (1.0, EVERYWHERE, {}),
    "a value above 1 with Bernoulli units": (changed(1.001), EVERYWHERE, BERNOULLI),
    "a value below 0 with Bernoulli units": (changed(-1e-5), EVERYWHERE, BERNOULLI),
    "too few features after a fit": (X[:, 1:], GOING_ON, {}),
    "too many features after a fit": (np.hstack([X, X]), GOING_ON, {}),
    "feature names in another order after a fit": (
        frame(names=NAMES[::-1]),
        GOING_ON,
        {},
    ),
    "other feature names after a fit": (frame(names=list("123456789")), GOING_ON, {}),
    "one row with early stopping": (X[:1], (FIT,), {"early_stopping": True}),
    "no training row left by the validation fraction": (
        X,
        (FIT,),
        {"early_stopping": True, "validation_fraction": 0.999},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_refused_input_raises_before_any_attribute_changes(name):
    data, methods, settings = REFUSED[name]
    kind = table("Refused")[name][0]
    machine = HelmholtzMachine(**SETTINGS, **settings)
    if "names" in name or name == "dates in a data frame":
        machine.set_params(early_stopping=False).fit(frame())
    else:
        machine.set_params(early_stopping=False).fit(X)
    machine.set_params(**settings)
    error = {"ValueError": ValueError, "TypeError": TypeError}[kind]
    before, weights = dict(vars(machine)), pickle.dumps(vars(machine))
    for method in methods:
        with pytest.raises(error, match=words_of(name)):
            getattr(machine, method)(data)
        assert vars(machine) == before
        assert pickle.dumps(vars(machine)) == weights


@pytest.mark.parametrize("name", [name for name in REFUSED if FIT in REFUSED[name][1]])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_refused_input_leaves_an_unfitted_machine_unfitted(name):
    data, methods, settings = REFUSED[name]
    kind = table("Refused")[name][0]
    machine = HelmholtzMachine(**SETTINGS, **settings)
    before = dict(vars(machine))
    error = {"ValueError": ValueError, "TypeError": TypeError}[kind]
    for method in set(methods) & {FIT, PARTIAL_FIT}:
        with pytest.raises(error, match=words_of(name)):
            getattr(machine, method)(data)
        assert vars(machine) == before


@pytest.mark.parametrize("name", [n for n in REFUSED if "dates" in n or "mask" in n])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score_samples"])
def test_a_classifier_refuses_hidden_values_as_its_machines_do(name, method):
    y = np.arange(len(X)) % 2
    classifier = HelmholtzClassifier(HelmholtzMachine(**SETTINGS))
    classifier.fit(frame() if "data frame" in name else X, y)
    before = pickle.dumps(vars(classifier))
    data = REFUSED[name][0]
    labels = [y[: len(data)]] if "fit" in method else []
    with pytest.raises(ValueError, match=words_of(name)):
        getattr(classifier, method)(data, *labels)
    assert pickle.dumps(vars(classifier)) == before


@pytest.mark.parametrize("name", ["masked values", "dates"])
def test_filling_in_refuses_hidden_values(name):
    machine = HelmholtzMachine(**SETTINGS).fit(X)
    with pytest.raises(ValueError, match=words_of(name)):
        machine.impute(REFUSED[name][0])


@pytest.mark.parametrize("value", [np.nan, np.inf, "a", 1j])
def test_codes_that_are_no_numbers_are_refused(value):
    machine = HelmholtzMachine(**SETTINGS).fit(X)
    codes = np.full((3, 10), value)
    with pytest.raises(ValueError, match=r"NaN|infinity|convert|Complex"):
        machine.inverse_transform(codes)


# ---------------------------------------------------------------------- taken


def memory_map(data, dtype):
    """Return the data as a read-only memory map."""
    path = Path(tempfile.mkdtemp()) / "rows.npy"
    np.save(path, data.astype(dtype))
    return np.load(path, mmap_mode="r")


def read_only(data):
    """Return a copy whose arrays are read-only."""
    data = data.copy()
    parts = (data.data, data.indices, data.indptr) if sp.issparse(data) else (data,)
    for part in parts:
        part.setflags(write=False)
    return data


def in_a_larger_array(data):
    """Return a view of the data with steps, backwards."""
    whole = np.full((2 * data.shape[0], 3 * data.shape[1]), np.nan)
    view = whole[::-2, ::-3]
    view[...] = data
    return view


def csr(kind):
    """Return the binary rows as an unusual CSR array."""
    data = sp.csr_array(X)
    if kind == "explicit zeros":
        full = np.repeat(np.arange(len(X)), X.shape[1])
        columns = np.tile(np.arange(X.shape[1]), len(X))
        indptr = np.arange(len(X) + 1) * X.shape[1]
        assert len(full) == X.size
        return sp.csr_array((X.ravel(), columns, indptr), X.shape)
    if kind == "duplicates":
        halves = np.repeat(data.data / 2, 2), np.repeat(data.indices, 2)
        return sp.csr_array((*halves, 2 * data.indptr), X.shape)
    if kind == "unsorted":
        parts = [
            data.indices[a:b][::-1]
            for a, b in zip(data.indptr[:-1], data.indptr[1:], strict=True)
        ]
        found = sp.csr_array((data.data, np.concatenate(parts), data.indptr), X.shape)
        assert not found.has_sorted_indices
        return found
    data.indices, data.indptr = data.indices.astype("i8"), data.indptr.astype("i8")
    return data


NEGATIVE_ZEROS = np.where(X == 0, -0.0, X)
#: Data that is read as other data: (the one, the other, settings of both).
SAME = {
    "lists of lists": (X.tolist(), X, {}),
    "booleans": (X.astype(bool), X, {}),
    "integers": (X.astype(np.int8), X, {}),
    "float16": (X.astype(np.float16), X, {}),
    "extended precision": (X.astype(np.longdouble), X, {}),
    "objects that are numbers": (X.astype(object), X, {}),
    "strings that are numbers": (X.astype(str), X, {}),
    "a data frame": (frame(), X, {}),
    "Fortran order": (np.asfortranarray(REAL), REAL, {}),
    "a view with steps and negative strides": (in_a_larger_array(REAL), REAL, {}),
    "non-native byte order": (REAL.astype(REAL.dtype.newbyteorder()), REAL, {}),
    "a read-only array": (read_only(REAL), REAL, {}),
    "a read-only memory map": (memory_map(REAL, float), REAL, {}),
    "a memory map of non-native byte order": (
        memory_map(REAL, np.dtype(float).newbyteorder()),
        REAL,
        {},
    ),
    "negative zeros": (NEGATIVE_ZEROS, X, {}),
    "negative zeros with Gaussian units": (NEGATIVE_ZEROS, X, {"visible": "gaussian"}),
    "CSR": (sp.csr_array(X), X, {}),
    "CSR with explicit zeros": (csr("explicit zeros"), X, {}),
    "CSR with duplicates": (csr("duplicates"), X, {}),
    "CSR with unsorted indices": (csr("unsorted"), X, {}),
    "CSR with 64-bit indices": (csr("64 bits"), X, {}),
    "read-only CSR": (read_only(csr("duplicates")), X, {}),
    "CSR with no stored value": (sp.csr_array(X.shape), 0 * X, {}),
    "values outside [0, 1] by rounding": (
        np.where(X > 0, 1 + 1e-6, -1e-6),
        X,
        {},
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_unusual_layout_gives_the_same_machine_and_scores(name):
    data, usual, settings = SAME[name]
    machine = HelmholtzMachine(**SETTINGS, **settings).fit(data)
    assert_same_machine(machine, HelmholtzMachine(**SETTINGS, **settings).fit(usual))
    usual = frame(usual) if isinstance(data, pd.DataFrame) else usual
    np.testing.assert_array_equal(machine.transform(data), machine.transform(usual))
    np.testing.assert_array_equal(
        machine.score_samples(data), machine.score_samples(usual)
    )
    machine.partial_fit(data)
    assert np.isfinite(parameters(machine)).all()


def test_a_sparse_data_frame_of_booleans_is_read_as_the_array():
    data = frame(X.astype(bool)).astype(pd.SparseDtype(bool, False))
    try:
        check_array(data, accept_sparse=True, dtype=float)
    except AttributeError:
        pytest.skip("scikit-learn cannot read it from this version of pandas")
    found = HelmholtzMachine(**SETTINGS).fit(data)
    assert_same_machine(found, HelmholtzMachine(**SETTINGS).fit(X))
    np.testing.assert_array_equal(found.transform(data), found.transform(frame()))


def assert_same_machine(one, other):
    assert one.visible_ == other.visible_
    np.testing.assert_array_equal(parameters(one), parameters(other))
    assert one.free_energy_curve_ == other.free_energy_curve_


LAWS = {}


def law(name):
    """Register the test of a row of the table."""

    def register(function):
        LAWS[name] = function
        return function

    return register


@law("CSC, COO, DOK")
def sparse_formats():
    usual = HelmholtzMachine(**SETTINGS).fit(X)
    for kind in (sp.csc_array, sp.coo_array, sp.dok_array, sp.csc_matrix):
        assert_same_machine(HelmholtzMachine(**SETTINGS).fit(kind(X)), usual)


@law("fewer rows than batch_size")
def few_rows():
    assert_same_machine(
        HelmholtzMachine(**SETTINGS, batch_size=10**6).fit(X),
        HelmholtzMachine(**SETTINGS, batch_size=len(X)).fit(X),
    )


@law("values in [0, 1] but for one")
def one_value_outside():
    data = changed(1.001)
    assert_same_machine(
        HelmholtzMachine(**SETTINGS).fit(data),
        HelmholtzMachine(**SETTINGS, visible="gaussian").fit(data),
    )


@law("Gaussian data times 2^996, about 1e300")
def large():
    scaled(996)


@law("Gaussian data times 2^-996, about 1e-300")
def small():
    scaled(-996)


def scaled(exponent):
    settings = SETTINGS | {"visible": "gaussian"}
    usual = HelmholtzMachine(**settings).fit(REAL)
    machine = HelmholtzMachine(**settings).fit(REAL * 2.0**exponent)
    np.testing.assert_array_equal(parameters(machine), parameters(usual))
    np.testing.assert_allclose(
        machine.score_samples(REAL * 2.0**exponent),
        usual.score_samples(REAL) - REAL.shape[1] * exponent * np.log(2),
    )
    np.testing.assert_array_equal(
        machine.reconstruct(REAL * 2.0**exponent),
        usual.reconstruct(REAL) * 2.0**exponent,
    )


@law("one row")
def one_row():
    row = X[:1]
    machine = HelmholtzMachine((3,), max_iter=200, random_state=0).fit(row)
    others = np.array(all_states(9))
    likeliest = others[machine.exact_log_likelihood(others).argmax()]
    np.testing.assert_array_equal(likeliest, row[0])


@law("one feature")
def one_feature():
    column = (np.arange(200) < 30)[:, None].astype(float)
    machine = HelmholtzMachine((3,), random_state=0).fit(column)
    chance = np.exp(machine.exact_log_likelihood([[1.0]])[0])
    assert chance == pytest.approx(0.15, abs=0.05)


@law("constant features")
def constant_features():
    for data, value in ((X, 1.0), (REAL, -7.5), (REAL * 1e300, 1e300)):
        data = data.copy()
        data[:, 4] = value
        machine = HelmholtzMachine((3,), random_state=0, learning_rate=0.3).fit(data)
        found = machine.reconstruct(data)[:, 4]
        np.testing.assert_allclose(found, value, rtol=0.05)
        assert np.isfinite(machine.score(data))


@law("all zeros")
def all_zeros():
    all_equal(0.0)


@law("all ones")
def all_ones():
    all_equal(1.0)


def all_equal(value):
    data = np.full((60, 5), value)
    machine = HelmholtzMachine((3,), random_state=0).fit(data)
    assert machine.visible_ == "bernoulli"
    assert machine.exact_log_likelihood(data)[0] > np.log(0.8)


@law("huge counts")
def huge_counts():
    counts = np.random.default_rng(0).poisson([1e3, 1e9, 1e15], (200, 3))
    machine = HelmholtzMachine((3,), random_state=0).fit(counts)
    assert machine.visible_ == "gaussian"
    found = machine.reconstruct(counts)
    np.testing.assert_allclose(found.mean(axis=0), counts.mean(axis=0), rtol=0.05)
    assert np.isfinite(machine.score(counts))


@law("a validation split of one row")
def one_validation_row():
    machine = HelmholtzMachine(**SETTINGS, early_stopping=True).fit(X[:5])
    curve = machine.validation_free_energy_curve_
    best = HelmholtzMachine(n_score_samples=1).set_params(**SETTINGS)
    vars(best).update({k: v for k, v in vars(machine).items() if k.endswith("_")})
    scores = best.score_samples(X[:5])
    # The kept state is the one with the lowest energy of the one row kept back.
    assert np.isclose(scores, -min(curve)).any()


@pytest.mark.parametrize("name", LAWS)
def test_unusual_data_gives_what_the_table_promises(name):
    LAWS[name]()


def test_tables_and_tests_have_the_same_rows():
    assert set(table("Refused")) == set(REFUSED)
    assert set(table("Taken")) == set(SAME) | set(LAWS)


@pytest.mark.parametrize(
    "codes", [np.full((2, 10), np.datetime64("NaT", "D")), "masked"]
)
def test_codes_are_read_as_rows_are(codes):
    machine = HelmholtzMachine(**SETTINGS).fit(X)
    if isinstance(codes, str):
        codes = np.ma.masked_less(machine.transform(X), 0.5)
    with pytest.raises(ValueError, match=r"dates or times|masked"):
        machine.inverse_transform(codes)


def test_an_array_like_may_have_dtypes_of_its_own():
    class Table:
        dtypes = {"a": np.dtype(float)}  # noqa: RUF012
        shape = X.shape

        def __len__(self):
            return len(X)

        def __array__(self, dtype=None, copy=None):
            return X

    machine = HelmholtzMachine(**SETTINGS).fit(Table())
    assert_same_machine(machine, HelmholtzMachine(**SETTINGS).fit(X))
