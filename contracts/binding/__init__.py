"""Typed Python bindings of the contracts, through any node's JSON-RPC."""
