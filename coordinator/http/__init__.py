"""The coordinator's HTTP server: JSON-RPC, artifacts, status and metrics over one port."""
