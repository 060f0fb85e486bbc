"""A ClientApp without torch that returns the model unchanged, to measure Flower alone."""

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from bench_app.clock import mark, round_of

app = ClientApp()


@app.train()
def train_fn(msg: Message, context: Context) -> Message:
    """Send the model back."""
    clock, round_id = str(context.node_config["clock"]), round_of(msg)
    mark(clock, "begun", round_id)
    metrics = MetricRecord({"loss": 0.0, "num-examples": 1})
    content = RecordDict({"arrays": msg.content["arrays"], "metrics": metrics})
    mark(clock, "trained", round_id)
    return Message(content, reply_to=msg)
