"""What an application remembers outlives its process, and nothing half done is remembered."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from participant_bench import message

from clients.daemon.contexts import Contexts
from coordinator.protocol.errors import StoreError

ASKED = message(RecordDict(), "train", node=9)


def remember(contexts: Contexts, count: int) -> None:
    context = contexts.context(ASKED, {})
    context.state["seen"] = MetricRecord({"count": count})
    context.state["layer"] = ArrayRecord({"w": Array(np.full(3, count, np.float32))})
    context.state["note"] = ConfigRecord({"text": "ä", "raw": b"\0"})
    contexts.keep(context)


def recalled(contexts: Contexts) -> int:
    state = contexts.context(ASKED, {}).state
    if not state:
        return 0
    assert state.array_records["layer"]["w"].numpy().tolist() == [state["seen"]["count"]] * 3
    assert dict(state.config_records["note"]) == {"text": "ä", "raw": b"\0"}
    return int(state["seen"]["count"])


def test_state_is_kept_across_messages_and_processes(tmp_path):
    path = tmp_path / "context.state"
    contexts = Contexts(path, {"site": 3})
    assert recalled(contexts) == 0
    remember(contexts, 1)
    assert recalled(contexts) == recalled(Contexts(path, {})) == 1
    remember(contexts, 2)
    assert recalled(Contexts(path, {})) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_context_says_who_and_with_what(tmp_path):
    context = Contexts(tmp_path / "s", {"site": 3}).context(ASKED, {"lr": 0.5})
    assert (context.run_id, context.node_id) == (1, 9)
    assert (context.node_config, context.run_config) == ({"site": 3}, {"lr": 0.5})


def test_an_application_without_state_writes_nothing(tmp_path):
    contexts = Contexts(tmp_path / "s", {})
    contexts.keep(contexts.context(ASKED, {}))
    assert not (tmp_path / "s").exists()


def test_what_a_failed_application_changed_is_forgotten(tmp_path):
    contexts = Contexts(tmp_path / "s", {})
    remember(contexts, 1)
    contexts.context(ASKED, {}).state["seen"] = MetricRecord({"count": 7})
    contexts.discard()
    assert recalled(contexts) == 1


def test_an_unchanged_state_is_not_written_again(tmp_path):
    path = tmp_path / "s"
    contexts = Contexts(path, {})
    remember(contexts, 1)
    path.unlink()
    remember(contexts, 1)
    assert not path.exists()


@pytest.mark.parametrize(
    "content", [b"x", b"\0\0\0\2{}", b"\0\0\0\2[]rest", b"\0\0\0\x09nonsense!"]
)
def test_a_damaged_file_is_an_error_and_no_fresh_start(tmp_path, content):
    path = tmp_path / "s"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"state is damaged .* remove it to start afresh"):
        Contexts(path, {})
