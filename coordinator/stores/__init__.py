"""Stores: artifacts on disk and over HTTP, and the folder of a run."""
