"""Settings that must stand before scikit-learn is imported."""

import os

# Without it scikit-learn skips its array API check of NumPy input.
os.environ["SCIPY_ARRAY_API"] = "1"
