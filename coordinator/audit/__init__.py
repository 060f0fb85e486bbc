"""Whoever checks: verification after the fact, watching during the window, and answering."""
