"""The contracts as typed Python objects, over web3, on any node."""
