"""Helmholtz machines for scikit-learn."""

from ._checkpoint import Checkpoint
from ._classifier import HelmholtzClassifier
from ._displays import (
    FreeEnergyDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
    WeightsDisplay,
)
from ._distributed import fit_distributed
from ._machine import HelmholtzMachine
from ._onnx import register_onnx_converter

__all__ = [
    "Checkpoint",
    "FreeEnergyDisplay",
    "HelmholtzClassifier",
    "HelmholtzMachine",
    "ReconstructionDisplay",
    "SamplesDisplay",
    "WeightsDisplay",
    "fit_distributed",
    "register_onnx_converter",
]
__version__ = "0.1.0"
