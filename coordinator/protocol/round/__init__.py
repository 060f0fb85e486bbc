"""One round: its state machine and events, screening of what arrives, results and rewards."""
