"""Records the time of an event for the benchmark, as a JSON line."""

import json
import time
from pathlib import Path

from flwr.app import Message


def mark(path: str, event: str, round_id: int) -> None:
    with Path(path).open("a") as file:
        file.write(json.dumps({"event": event, "round": round_id, "time": time.time()}) + "\n")


def round_of(msg: Message) -> int:
    """Return the round's number, from Fedproof's group id or from FedAvg's configuration."""
    return int(msg.metadata.group_id or msg.content["config"]["server-round"])
