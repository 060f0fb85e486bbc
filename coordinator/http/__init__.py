"""The coordinator's face to the network: JSON-RPC, artifacts, status and metrics over one port."""
