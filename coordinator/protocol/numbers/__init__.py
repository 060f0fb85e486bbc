"""Numbers: floats to fixed point and back, the manifest that orders them, norms, weights."""
