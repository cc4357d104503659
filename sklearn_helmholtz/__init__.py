"""Helmholtz machines for scikit-learn."""

from ._classifier import HelmholtzClassifier
from ._distributed import fit_distributed
from ._machine import HelmholtzMachine

__all__ = ["HelmholtzClassifier", "HelmholtzMachine", "fit_distributed"]
__version__ = "0.1.0"
