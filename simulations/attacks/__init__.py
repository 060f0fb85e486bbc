"""Attacks that a simulation can run: of dishonest contributors and coordinators."""
