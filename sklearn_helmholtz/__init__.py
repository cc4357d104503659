"""Helmholtz machines for scikit-learn."""

from ._displays import (
    FreeEnergyDisplay,
    ReconstructionDisplay,
    SamplesDisplay,
    WeightsDisplay,
)
from ._machine import HelmholtzMachine

__all__ = [
    "FreeEnergyDisplay",
    "HelmholtzMachine",
    "ReconstructionDisplay",
    "SamplesDisplay",
    "WeightsDisplay",
]
__version__ = "0.1.0"
