"""Adapters: what connects the ports to disk, chain and Flower."""
