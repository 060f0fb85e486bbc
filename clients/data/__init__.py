"""Reads a participant's own data from files that it names; the data never leaves the machine."""
