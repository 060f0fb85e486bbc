"""Running an experiment: its chain, identities, cohorts, rounds and records."""
