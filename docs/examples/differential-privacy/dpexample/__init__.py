"""A Flower app whose clients train with differential privacy (Opacus)."""
