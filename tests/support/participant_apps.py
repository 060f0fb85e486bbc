"""Unmodified Flower apps that a participant may bring, for tests."""

import random
import time
from pathlib import Path

import numpy as np

import coordinator.flower.environment  # noqa: F401

# isort: split
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train to a different result each time, so that signing twice would be equivocation."""
    config = message.content.config_records["config"]
    if "touch" in config:
        Path(str(config["touch"])).touch()
    time.sleep(float(config.get("pause_s", 0.0)))
    if config.get("raise"):
        raise ValueError("patient 4711 has a negative age")
    step = np.float32(random.SystemRandom().randrange(1, 1000) / 1024)
    arrays = {
        name: Array(array.numpy() + step)
        for name, array in message.content.array_records["arrays"].items()
    }
    seen = context.state.metric_records.get("seen", MetricRecord({"count": 0}))
    count = int(seen["count"]) + 1
    context.state["seen"] = MetricRecord({"count": count})
    metrics = MetricRecord(
        {
            "num-examples": int(config.get("examples", 5)),
            "count": count,
            "site": float(context.node_config.get("site", -1)),
        }
    )
    return Message(
        RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message
    )
