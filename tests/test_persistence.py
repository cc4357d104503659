"""What leaves the process comes back the same: pickle, joblib, skops, ONNX."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
import skops.io
from helpers import binary_rows
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_helmholtz import (
    HelmholtzClassifier,
    HelmholtzMachine,
    register_onnx_converter,
)

#: All that skops has to be told to trust, beyond its own list.
TRUSTED = [
    "numpy.random._generator.Generator",
    "sklearn_helmholtz._classifier.HelmholtzClassifier",
    "sklearn_helmholtz._machine.HelmholtzMachine",
]

OTHER_PROCESS = """
import sys
import joblib, numpy as np
model = joblib.load(sys.argv[1])
X = np.load(sys.argv[2])
score = getattr(model, "predict_log_proba", model.score_samples)
np.save(sys.argv[3], score(X))
model.partial_fit(X, np.arange(len(X)) % 2)
np.save(sys.argv[4], score(X))
"""


def models():
    """Return a fitted machine and classifier, of both kinds of visible units."""
    X, y = binary_rows(60, 5), np.arange(60) % 2
    tiny = HelmholtzMachine((4, 2), max_iter=2, random_state=0)
    return {
        "machine": (tiny.fit(X), X),
        "classifier": (HelmholtzClassifier(tiny, random_state=0).fit(X, y), X),
        "gaussian classifier": (
            HelmholtzClassifier(tiny, random_state=0).fit(X + y[:, None], y),
            X + y[:, None],
        ),
    }


def scores(model, X):
    return getattr(model, "predict_log_proba", model.score_samples)(X)


@pytest.fixture(params=["machine", "classifier", "gaussian classifier"])
def fitted(request):
    return models()[request.param]


def test_another_process_scores_and_goes_on_the_same(tmp_path):
    model, X = models()["gaussian classifier"]
    paths = [str(tmp_path / name) for name in ("model", "X.npy", "a.npy", "b.npy")]
    joblib.dump(model, paths[0])
    np.save(paths[1], X)
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, *paths], check=True)
    np.testing.assert_array_equal(np.load(paths[2]), scores(model, X))
    model.partial_fit(X, np.arange(len(X)) % 2)
    np.testing.assert_array_equal(np.load(paths[3]), scores(model, X))


def test_memory_mapped_models_score_and_go_on_the_same(fitted, tmp_path):
    model, X = fitted
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(scores(mapped, X), scores(model, X))
    y = np.arange(len(X)) % 2
    mapped.partial_fit(X, y)
    model.partial_fit(X, y)
    np.testing.assert_array_equal(scores(mapped, X), scores(model, X))


def test_skops_needs_to_trust_three_types_and_no_more(fitted):
    model, X = fitted
    held = skops.io.dumps(model)
    assert set(skops.io.get_untrusted_types(data=held)) <= set(TRUSTED)
    loaded = skops.io.loads(held, trusted=TRUSTED)
    np.testing.assert_array_equal(scores(loaded, X), scores(model, X))


# ------------------------------------------------------------------------ ONNX


def run_onnx(model, X):
    """Return the outputs of a model converted to ONNX."""
    skl2onnx = pytest.importorskip("skl2onnx", reason="needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    register_onnx_converter()
    options = {LogisticRegression: {"zipmap": False}}
    held = skl2onnx.to_onnx(model, X[:1], options=options)
    session = runtime.InferenceSession(
        held.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [given.name for given in session.get_inputs()]
    columns = {name: X[[name]].to_numpy() for name in names} if len(names) > 1 else None
    return session.run(None, columns or {names[0]: X})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"code": "top"},
        {"code": 0},
        {"lateral": True},
        {"autoregressive": True},
        {"visible": "gaussian"},
    ],
    ids=str,
)
def test_onnx_codes_are_those_of_transform(options, dtype):
    X = np.random.default_rng(0).random((80, 6)).astype(dtype)
    machine = HelmholtzMachine((7, 3), max_iter=4, random_state=0, **options).fit(X)
    (codes,) = run_onnx(machine, X)
    assert codes.dtype == dtype
    np.testing.assert_allclose(codes, machine.transform(X), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_onnx_graphs_with_an_input_a_column_give_what_transform_gives(visible, dtype):
    pd = pytest.importorskip("pandas")
    X = np.random.default_rng(0).random((80, 4)).astype(dtype)
    frame = pd.DataFrame(X, columns=list("abcd"))
    machine = HelmholtzMachine((7, 3), visible=visible, max_iter=4, random_state=0)
    pipeline = make_pipeline(machine, LogisticRegression()).fit(frame, X[:, 0] > 0.5)
    (codes,) = run_onnx(machine, frame)
    assert codes.dtype == dtype
    np.testing.assert_allclose(codes, machine.transform(frame), atol=1e-5)
    labels, _ = run_onnx(pipeline, frame)
    np.testing.assert_array_equal(labels, pipeline.predict(frame))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("centre", "spread"), [(1e4, 1.0), (1e6, 10.0)])
def test_onnx_codes_are_those_of_transform_far_from_zero(centre, spread, dtype):
    """Also of a float32 machine that is given float64, which it rounds first."""
    X = np.random.default_rng(0).normal(centre, spread, (200, 6)).astype(dtype)
    machine = HelmholtzMachine((7, 3), max_iter=4, random_state=0)
    machine.fit(X.astype(np.float32))
    (codes,) = run_onnx(machine, X)
    np.testing.assert_allclose(codes, machine.transform(X), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx_codes_are_those_of_transform_outside_the_units(dtype):
    X = binary_rows().astype(dtype)
    machine = HelmholtzMachine((7, 3), max_iter=4, random_state=0).fit(X)
    with pytest.warns(UserWarning, match="it is clipped"):
        expected = machine.transform(3 * X - 1)
    (codes,) = run_onnx(machine, 3 * X - 1)
    np.testing.assert_allclose(codes, expected, atol=1e-5)


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(clip=True)])
def test_onnx_pipeline_with_scaler_and_classifier(scaler):
    rng = np.random.default_rng(0)
    X = rng.normal(3, 2, (120, 6)).astype(np.float32)
    y = X[:, 0] > X[:, 1]
    machine = HelmholtzMachine((7, 3), max_iter=4, random_state=0)
    pipeline = make_pipeline(scaler, machine, LogisticRegression()).fit(X, y)
    labels, chances = run_onnx(pipeline, X)
    np.testing.assert_array_equal(labels, pipeline.predict(X))
    np.testing.assert_allclose(chances, pipeline.predict_proba(X), atol=1e-5)
