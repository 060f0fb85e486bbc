"""Running an experiment: chain, identities, cohort, rounds, and what is written of them."""
