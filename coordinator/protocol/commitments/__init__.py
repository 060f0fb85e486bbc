"""Commitments: hash trees, digests and the documents they name (``docs/protocol.md`` §3, §4)."""
