"""The participant's long-running process: key, data, training, chain; Flower only carries."""
