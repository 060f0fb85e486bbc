"""Has participants evaluate a sealed round's model on their own test data, between two rounds.

The ServerApp's side: it asks the nodes that the service names, and passes on what each says or why
it says nothing. It waits for a limited time, and no answer of a node ends more than that node's
part. Not handled: when there is an evaluation, and what becomes of it (``coordinator.daemon``).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

# isort: split
from flwr.app import ConfigRecord, Message, MessageType
from flwr.serverapp import Grid

from coordinator.flower.driver_client import DriverClient
from coordinator.flower.records import (
    ModelLayout,
    instruction_content,
    instruction_records,
    read_metrics,
    vector_array,
)
from coordinator.flower.replies import Recipients, check_reply, refusal
from coordinator.protocol.errors import ContributorError
from coordinator.protocol.instructions import EVALUATE

_log = logging.getLogger(__name__)


def evaluate_model(
    driver: DriverClient, grid: Grid, layout: ModelLayout, patience_s: float
) -> int | None:
    """Run the evaluation that is due, if any.

    Parameters
    ----------
    grid
        Yields replies as they arrive, for at most ``patience_s`` seconds.
    layout
        The names and order of the model's tensors.

    Returns
    -------
    How many nodes gave an answer that could be read; ``None`` if there was nothing to evaluate.

    Raises
    ------
    FedproofError
        If the service fails, never for what a node says.
    """
    request = driver.begin_evaluation()
    if request is None:
        return None
    announcement, nodes = request
    config = ConfigRecord({"server-round": int(announcement.round_id)})
    told = instruction_content(layout, config, sealed=announcement.sealed)
    instruction = driver.sign_instruction(announcement.round_id, EVALUATE, told)
    model = vector_array(announcement.model)
    content = instruction_records(announcement, model, layout, instruction)
    group = str(announcement.round_id)
    messages = [Message(content, node, MessageType.EVALUATE, group_id=group) for node in nodes]
    answers = _Answers(driver)
    recipients: Recipients | None = None
    for reply in grid.send_and_receive(messages, timeout=patience_s):
        # A streaming grid sends the messages only when its first reply is requested.
        recipients = recipients or Recipients.of(messages, MessageType.EVALUATE)
        answers.take(reply, recipients)
    answers.close(nodes)
    driver.end_evaluation()
    _log.info(
        "round %d is evaluated: %d of %d nodes answered",
        announcement.round_id,
        answers.readable,
        len(nodes),
    )
    return answers.readable


@dataclass
class _Answers:
    """Passes each node's first answer on to the service."""

    driver: DriverClient
    readable: int = 0

    def __post_init__(self) -> None:
        self._heard: set[int] = set()

    def take(self, reply: Message, recipients: Recipients) -> None:
        node = recipients.nodes.get(reply.metadata.reply_to_message_id)
        if node is None or node in self._heard:
            return
        self._heard.add(node)
        try:
            metrics = read_metrics(check_reply(reply, recipients))
        except ContributorError as error:
            self.driver.refuse_evaluation(node, error)
        else:
            self.driver.evaluated(node, metrics)
            self.readable += 1

    def close(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            if node not in self._heard:
                self.driver.refuse_evaluation(node, refusal("no-reply", "nothing came in time"))
