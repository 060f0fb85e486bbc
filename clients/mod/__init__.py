"""The Flower mod that checks what it is sent against the chain, and signs what it returns."""
