"""Replies fetched object by object: none waited for, none trusted, none lost."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)

from coordinator.flower import presence_queries as presence_queries
from coordinator.flower.fetching import ObjectwiseReplies
from coordinator.flower.internals import GridConnection, identify_process
from coordinator.flower.presence_queries import AGAIN_S, PATIENCE_S, PresenceQueries
from coordinator.flower.replies import Recipients, check_reply
from coordinator.flower.streaming_grid import StreamingGrid
from coordinator.protocol.errors import ContributorError


class SuperLink:
    """The runtime's side of a SuperLink: replies announced, objects uploaded one by one."""

    def __init__(self) -> None:
        identify_process(1)
        self.announced: dict[str, tuple] = {}
        self.objects: dict[str, bytes | None] = {}
        self.confirmed: list[str] = []
        self.pulls = 0
        self.node, self.run = Node(node_id=1), SimpleNamespace(run_id=1)

    @property
    def _runtime_client(self) -> "SuperLink":
        return self

    def announce(self, number: str, value: float) -> list[str]:
        """Announce the reply to a message; return the names of its objects."""
        asked = Message(RecordDict(), 5, "train")
        vars(asked.metadata)["_message_id"] = number
        arrays = ArrayRecord({"x": Array(np.full(4, value))})
        reply = Message(RecordDict({"a": arrays, "c": ConfigRecord({"n": number})}), reply_to=asked)
        with no_object_id_recompute():
            vars(reply.metadata)["_message_id"] = reply.object_id
            proto = message_to_proto(remove_content_from_message(reply))
            objects = {k: o.deflate() for k, o in get_all_nested_objects(reply).items()}
            self.announced[number] = (proto, get_object_tree(reply))
        self.waiting = objects
        self.objects.update(dict.fromkeys(objects))
        return list(objects)

    def upload(self, *names: str) -> None:
        for name in names or list(self.waiting):
            self.objects[name] = self.waiting[name]

    def PullMessages(self, request):
        found = [self.announced.pop(m) for m in request.message_ids if m in self.announced]
        return PullAppMessagesResponse(
            messages_list=[proto for proto, _ in found],
            message_object_trees=[tree for _, tree in found],
        )

    def PullObject(self, request):
        self.pulls += 1
        if request.object_id not in self.objects:
            return PullObjectResponse(object_found=False)
        content = self.objects[request.object_id]
        return PullObjectResponse(
            object_found=True, object_available=content is not None, object_content=content or b""
        )

    def ConfirmMessageReceived(self, request) -> None:
        self.confirmed.append(request.message_object_id)


def code_of(reply: Message, number: str) -> str:
    recipients = Recipients({number: 5}, "train")
    with pytest.raises(ContributorError) as refused:
        check_reply(reply, recipients)
    return refused.value.code


def test_a_reply_comes_when_all_of_it_is_there_and_once():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    assert list(replies.fetch(["m1"])) == []
    names = link.announce("m1", 2.5)
    assert list(replies.fetch(["m1"])) == []
    link.upload(*names[:2])
    assert list(replies.fetch(["m1"])) == []
    link.upload()
    (reply,) = replies.fetch(["m1"])
    np.testing.assert_array_equal(reply.content["a"]["x"].numpy(), np.full(4, 2.5))
    assert reply.metadata.reply_to_message_id == "m1"
    assert link.confirmed == [reply.metadata.message_id]
    assert list(replies.fetch(["m1"])) == []


def test_what_is_there_already_is_not_fetched_twice():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    names = link.announce("m1", 2.5)
    link.upload(*names[1:])
    assert list(replies.fetch(["m1"])) == []
    pulls = link.pulls
    assert list(replies.fetch(["m1"])) == []
    assert link.pulls == pulls + 1


def test_one_that_is_never_uploaded_holds_up_no_other():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    link.announce("m1", 2.5)
    link.announce("m2", 3.5)
    link.upload()
    (reply,) = replies.fetch(["m1", "m2"])
    assert reply.metadata.reply_to_message_id == "m2"


def test_one_whose_upload_expired_is_an_error_reply():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    link.announce("m1", 2.5)
    assert list(replies.fetch(["m1"])) == []
    link.objects.clear()
    (reply,) = replies.fetch(["m1"])
    assert code_of(reply, "m1") == "not-uploaded"


def test_one_that_cannot_be_read_is_an_error_reply_and_the_next_is_read():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    names = link.announce("m1", 2.5)
    link.upload()
    for name in names:
        link.objects[name] = b"ArrayChunk 5\0hello" if name != names[-1] else b"\xff" * 40
    link.announce("m2", 3.5)
    link.upload()
    bad, good = replies.fetch(["m1", "m2"])
    assert code_of(bad, "m1") == "unreadable"
    np.testing.assert_array_equal(good.content["a"]["x"].numpy(), np.full(4, 3.5))


def test_one_that_says_it_answers_another_message_is_refused():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    link.announce("m1", 2.5)
    link.upload()
    proto, tree = link.announced.pop("m1")
    proto.metadata.reply_to_message_id = "m2"
    link.announced["m2"] = (proto, tree)
    (reply,) = replies.fetch(["m2"])
    assert code_of(reply, "m2") == "unreadable"


def kept_bytes(replies: ObjectwiseReplies) -> int:
    return sum(len(c) for one in replies._announced.values() for c in (one.contents or {}).values())


def test_one_that_is_too_large_is_an_error_reply_before_all_of_it_is_fetched():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    names = link.announce("m1", 2.5)
    link.upload(*names[:-1])
    first = len(link.waiting[names[0]])
    assert list(replies.fetch(["m1"], first)) != []
    assert link.pulls == 2
    link.announce("m2", 3.5)
    link.upload()
    (reply,) = replies.fetch(["m2"], 100)
    assert code_of(reply, "m2") == "too-large"
    assert re.search(r"\d+ bytes or more, at most 100", reply.error.reason)
    assert len(link.confirmed) == 2  # the SuperLink need not keep them either
    assert replies._announced == {}
    link.announce("m3", 4.5)
    link.upload()
    (reply,) = replies.fetch(["m3"], 10_000)
    assert not reply.has_error()


def test_of_one_that_is_forgotten_nothing_is_kept_and_its_upload_is_not_cut_short():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    names = link.announce("m1", 2.5)
    link.upload(*names[:-1])
    assert list(replies.fetch(["m1"])) == []
    assert kept_bytes(replies) > 0
    replies.forget(["m1", "m9"])
    assert kept_bytes(replies) == 0
    assert replies.drop(["m1", "m9"]) == {}
    assert link.confirmed == []
    link.upload()
    assert replies.drop(["m1", "m9"]) == {"m1": True}
    assert len(link.confirmed) == 1
    assert replies._announced == {}


def test_one_that_is_forgotten_and_never_uploaded_is_dropped_when_its_upload_expired():
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    link.announce("m1", 2.5)
    assert replies.drop(["m1"]) == {}
    link.objects.clear()
    assert replies.drop(["m1"]) == {"m1": True}
    assert replies._announced == {}


class Told:
    """Remembers which presences were refused, as the service logs them."""

    def __init__(self):
        self.refused = []

    def refuse_presence(self, node, error):
        self.refused.append((node, str(error)))


class Stranger:
    """A registered node that answers every hello with all but the last object of a model."""

    def __init__(self, link: SuperLink) -> None:
        self.link, self.asked = link, 0

    def push_messages(self, messages):
        for message in messages:
            self.asked += 1
            number = f"h{self.asked}"
            vars(message.metadata)["_message_id"] = number
            names = self.link.announce(number, float(self.asked))
            self.link.upload(*names[:-1])
            yield number


def test_a_node_that_never_greets_costs_no_memory_however_often_it_is_asked(monkeypatch):
    link, clock, given_up = SuperLink(), SimpleNamespace(now=0.0), {}
    monkeypatch.setattr(presence_queries, "time", SimpleNamespace(monotonic=lambda: clock.now))
    replies = ObjectwiseReplies(GridConnection(link))

    def give_up(messages):
        replies.forget(list(messages))
        given_up.update(messages)

    asking = PresenceQueries(Told(), stranger := Stranger(link), replies, give_up)
    kept = []
    for _ in range(30):
        asking.ask([5])
        asking.take()
        kept.append(sum(bool(one.contents) for one in replies._announced.values()))
        clock.now += AGAIN_S
    assert stranger.asked == 30
    assert max(kept) == kept[-1] == 1 + PATIENCE_S // AGAIN_S
    assert given_up == {f"h{n}": 5 for n in range(1, 31 - kept[-1])}
    link.objects.clear()  # the SuperLink gives an upload up after three minutes
    assert replies.drop(list(given_up)) == dict.fromkeys(given_up, True)
    asking.take()
    assert (replies._announced, asking.waiting) == ({}, False)


def test_a_hello_answered_with_a_model_is_refused(monkeypatch):
    link = SuperLink()
    replies = ObjectwiseReplies(GridConnection(link))
    monkeypatch.setattr(presence_queries, "ANSWER_BYTES", 50)
    told = Told()
    asking = PresenceQueries(told, Stranger(link), replies, lambda messages: None)
    asking.ask([5])
    asking.take()
    [(node, why)] = told.refused
    assert (node, why.startswith("reply: too-large: ")) == (5, True)
    assert (replies._announced, asking.waiting) == ({}, False)


def test_of_an_update_that_is_not_whole_when_its_round_ends_nothing_is_kept():
    link = SuperLink()
    replies, node = ObjectwiseReplies(GridConnection(link)), Stranger(link)
    grid = StreamingGrid(node, lambda: 0.0, replies)
    assert list(grid.send_and_receive([Message(RecordDict(), 5, "train")])) == []
    assert node.asked == 1
    assert list(replies._announced) == ["h1"]
    assert kept_bytes(replies) == 0
    link.upload()
    grid.drop_late()
    assert (replies._announced, len(link.confirmed)) == ({}, 1)
