"""The watcher: replays every round as it is sealed, and proves fraud to the referee."""
