"""Checking a federation: verify afterwards, watch during the challenge window, answer disputes."""
