"""Pure protocol core: values in, values out; no I/O, no clock, no Flower, no web3."""
