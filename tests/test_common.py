"""scikit-learn's own checks, with no failure expected and none skipped."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from sklearn_helmholtz import HelmholtzClassifier, HelmholtzMachine
from sklearn_helmholtz._data import Rows

# Small and short: the checks fit hundreds of times. One machine is left at its
# defaults all the same, and a slow test does it for the classifier.
SMALL = {"hidden_layer_sizes": (5,), "max_iter": 5}


class SparseFloat32Machine(HelmholtzMachine):
    """Takes whatever the checks feed as float32 CSR rows."""

    def _read(self, X, *, reset):
        rows = super()._read(X, reset=reset)
        return Rows(sp.csr_array(rows.X, dtype=np.float32))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


ESTIMATORS = [
    HelmholtzMachine(),
    HelmholtzMachine(hidden_layer_sizes=(8, 4), max_iter=5),
    HelmholtzMachine(visible="gaussian", **SMALL),
    HelmholtzMachine(learning_rule="wake-sleep", direction="plain", **SMALL),
    HelmholtzMachine(learning_rule="contrastive-divergence", **SMALL),
    HelmholtzMachine(optimizer="adam", learning_rate=1e-3, code="top", **SMALL),
    HelmholtzMachine(early_stopping=True, tol=1e-3, code=0, **SMALL),
    HelmholtzMachine(lateral=True, **SMALL),
    HelmholtzMachine(n_moves=2, **SMALL),
    HelmholtzMachine(direction="natural", alpha="evidence", **SMALL),
    HelmholtzMachine(autoregressive=True, **SMALL),
    SparseFloat32Machine(**SMALL),
    HelmholtzMachine(batch_size=7, n_score_samples=3, n_jobs=2, **SMALL),
]
CLASSIFIERS = [
    HelmholtzClassifier(HelmholtzMachine(**SMALL)),
    HelmholtzClassifier(
        HelmholtzMachine((4, 3), learning_rule="wake-sleep", max_iter=10),
        priors="uniform",
        n_score_samples=5,
        random_state=0,
    ),
]

#: Checks that `check_estimator` leaves to scikit-learn's own test suite.
FURTHER_CHECKS = [
    "check_param_validation",
    "check_dataframe_column_names_consistency",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
]


@parametrize_with_checks([*ESTIMATORS, *CLASSIFIERS])
def test_estimator_passes_every_common_check(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_classifier_with_its_defaults_passes_every_common_check():
    check_estimator(HelmholtzClassifier())


# Not the first: the second is the same in 5 epochs instead of 200.
@pytest.mark.parametrize("estimator", ESTIMATORS[1:], ids=repr)
@pytest.mark.parametrize("name", FURTHER_CHECKS)
def test_estimator_passes_the_checks_that_check_estimator_leaves_out(name, estimator):
    getattr(estimator_checks, name)(type(estimator).__name__, clone(estimator))


@pytest.mark.parametrize("estimator", CLASSIFIERS[1:], ids=repr)
@pytest.mark.parametrize(
    "name",
    [
        "check_param_validation",
        "check_dataframe_column_names_consistency",
        "check_inplace_ensure_writeable",
    ],
)
def test_classifier_passes_the_checks_that_check_estimator_leaves_out(name, estimator):
    getattr(estimator_checks, name)(type(estimator).__name__, clone(estimator))


def test_no_common_check_is_skipped_or_excused():
    machine = HelmholtzMachine(**SMALL)
    for estimator in (machine, HelmholtzClassifier(machine, n_score_samples=5)):
        results = check_estimator(estimator, on_skip=None, on_fail=None)
        assert {result["status"] for result in results} == {"passed"}
        assert len(results) > 40
        assert not estimator.__sklearn_tags__().non_deterministic


@pytest.mark.parametrize("kind", [lambda machine: machine, HelmholtzClassifier])
def test_machines_that_ask_for_bernoulli_units_are_tagged_as_positive_only(kind):
    estimator = kind(HelmholtzMachine(visible="bernoulli", **SMALL))
    name = type(estimator).__name__
    estimator_checks.check_positive_only_tag_during_fit(name, estimator)
    assert estimator.__sklearn_tags__().input_tags.positive_only
    assert not kind(HelmholtzMachine()).__sklearn_tags__().input_tags.positive_only


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept_from_data_through_parameters_to_codes(dtype):
    X = np.random.default_rng(0).random((40, 6)).astype(dtype)
    machine = HelmholtzMachine(**SMALL).fit(X)
    arrays = [
        machine.components_,
        *machine.generative_coefs_,
        *machine.generative_intercepts_,
        *machine.recognition_coefs_,
        *machine.recognition_intercepts_,
        machine.transform(X),
        machine.sample(3),
        machine.inverse_transform(machine.transform(X)),
    ]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
