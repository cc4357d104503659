"""Settings that must stand before scikit-learn is imported."""

import os

# Without it scikit-learn skips its array API check of NumPy input.
os.environ["SCIPY_ARRAY_API"] = "1"

# pytest-xdist's workers share the processors: BLAS threads of their own would only
# get in each other's way. Tests of threads say how many they want.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
