"""One round: its state machine and events, the screening of updates, results and rewards."""
