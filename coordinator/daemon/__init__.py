"""The coordinator's service: one process that runs a federation, and its child processes.

The service holds the key, the chain and the store. Flower's SuperLink, its executor and the
ServerApp are child processes without any of them; the ServerApp drives rounds over a Unix socket.
"""
