"""Commands of participants, operators and watchers, registered in ``simulations.cli``."""
