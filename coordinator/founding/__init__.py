"""Founds a federation: keys, certificates, agreement, contract, a folder for each participant."""
