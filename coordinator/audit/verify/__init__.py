"""Audit: replays a whole run from the chain and the artifact store alone (PROTOCOL §9)."""
