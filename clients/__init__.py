"""Participants: accounts, training, and the Flower mod that signs updates."""
