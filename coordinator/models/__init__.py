"""Models: the architecture document of a federation, and PyTorch modules made from it."""
