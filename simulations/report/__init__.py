"""Output of a run for people: progress, figures, the report."""
