"""Local training of the built-in models."""
