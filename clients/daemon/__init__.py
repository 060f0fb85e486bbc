"""The participant's long-running process: key, data, training and chain (ADR 90)."""
