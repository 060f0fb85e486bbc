"""The ClientApp, which plain Flower starts in a new process for every message."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from bench_app.clock import mark, round_of
from bench_app.task import load_data, network, train

app = ClientApp()


@app.train()
def train_fn(msg: Message, context: Context) -> Message:
    """Train the model received on local data."""
    clock, round_id = str(context.node_config["clock"]), round_of(msg)
    mark(clock, "begun", round_id)
    model = network()
    model.load_state_dict(msg.content["arrays"].to_torch_state_dict())
    x, y = load_data(str(context.node_config["data"]))
    loss = train(model, x, y)
    metrics = MetricRecord({"loss": loss, "num-examples": len(y)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    mark(clock, "trained", round_id)
    return Message(content, reply_to=msg)
