"""What people read of a run: progress, figures, the report."""
