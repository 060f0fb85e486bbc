"""Writes down when something happened, for the benchmark: one JSON line each."""

import json
import time
from pathlib import Path

from flwr.app import Message


def mark(path: str, event: str, round_id: int) -> None:
    with Path(path).open("a") as file:
        file.write(json.dumps({"event": event, "round": round_id, "time": time.time()}) + "\n")


def round_of(msg: Message) -> int:
    """Return the number of the round: Fedproof names the group by it, FedAvg the configuration."""
    return int(msg.metadata.group_id or msg.content["config"]["server-round"])
