"""Helmholtz machines for scikit-learn."""

from ._classifier import HelmholtzClassifier
from ._machine import HelmholtzMachine

__all__ = ["HelmholtzClassifier", "HelmholtzMachine"]
__version__ = "0.1.0"
