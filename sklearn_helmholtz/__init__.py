"""Helmholtz machines for scikit-learn."""

from ._checkpoint import Checkpoint
from ._machine import HelmholtzMachine

__all__ = ["Checkpoint", "HelmholtzMachine"]
__version__ = "0.1.0"
