"""Signatures: EIP-712 statements, who made them, and what they are good for."""
