"""Helmholtz machines for scikit-learn."""

from ._machine import HelmholtzMachine

__all__ = ["HelmholtzMachine"]
__version__ = "0.1.0"
