"""Simulations: one TOML file, one command, plots and tables."""
