"""Numbers: fixed point, the manifest that gives the order of tensors, norms, weights."""
