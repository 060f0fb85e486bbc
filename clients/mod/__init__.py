"""The Flower mod that checks instructions against the chain, and signs updates."""
