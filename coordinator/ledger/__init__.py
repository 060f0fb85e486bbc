"""The ledger port over the federation contract: rounds, members, deployment, finding one."""
