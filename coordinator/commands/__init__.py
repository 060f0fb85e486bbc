"""Commands of the coordinator's side, each registered on ``coordinator.cli.app``."""
