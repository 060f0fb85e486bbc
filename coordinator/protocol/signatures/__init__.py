"""Signatures: EIP-712 statements, their signers, and the checks on them."""
