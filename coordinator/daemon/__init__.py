"""The coordinator's service: one process that runs a federation, and the few it starts.

The service holds the key, the chain and the store. Flower's SuperLink, its executor and the
ServerApp are children without any of them; the ServerApp drives rounds over a Unix socket.
"""
