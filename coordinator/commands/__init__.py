"""Commands of the coordinator's side, each registered on ``coordinator.commands.cli.app``."""
