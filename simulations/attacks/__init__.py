"""Misbehaviour that a simulation can play: dishonest contributors and coordinators."""
