"""A store that does not answer, an account that cannot pay, a node that refuses: all goes on."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from fraud_bench import ETHER, FraudBench
from typer.testing import CliRunner

from clients.commands.watch import _follow
from contracts.node.rpc import Dispatcher
from contracts.node.server import serve_in_thread
from coordinator.audit.responder import Responder
from coordinator.audit.watch.findings import Notice
from coordinator.audit.watch.rounds import RoundReader
from coordinator.audit.watch.watcher import Watcher, WatchOptions
from coordinator.protocol.disputes import CaseKind, record_moves
from coordinator.protocol.errors import ChainUnavailableError, LedgerError, StoreError
from coordinator.protocol.types import RoundId
from simulations.cli import app

Make = Callable[..., FraudBench]

SHIFT = {"kind": "shift_parameter", "parameter": 11}
WINDOW_S = 400
PATIENCE_S = WINDOW_S // 4


class FlakyStore:
    """A store that does not answer while it is ``down``, for what ``affects`` names."""

    def __init__(self, store: Any, *affects: str) -> None:
        self._store, self._affects = store, affects
        self.down = True
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        read = getattr(self._store, name)
        if not name.startswith("get_") or (self._affects and name not in self._affects):
            return read

        def asked(*arguments: Any) -> Any:
            self.asked += 1
            if self.down:
                raise StoreError("https://store: status 503: closed")
            return read(*arguments)

        return asked


def watching(bench: FraudBench, store: Any, account: Any = None, **options: Any) -> Watcher:
    chain = bench.chain
    who = account or chain.identities.watcher
    told = bench.notices.append
    settings = WatchOptions(**options)
    return Watcher(chain.federation, chain.referee, store, who, told, settings)


def pass_time(bench: FraudBench, seconds: int) -> None:
    bench.chain.wait_until(bench.chain.node.next_timestamp + seconds)


@pytest.fixture
def bench(make_bench: Make) -> FraudBench:
    """Two rounds, the second false, in a window that leaves room."""
    made = make_bench(SHIFT, chain={"challenge_window_s": WINDOW_S})
    made.play(watched=False)
    made.play(watched=False)
    return made


def test_a_store_that_comes_back_in_time_costs_nothing(bench: FraudBench) -> None:
    store = FlakyStore(bench.public)
    watcher = watching(bench, store)
    before = bench.balance(bench.chain.identities.watcher)
    for _ in range(3):
        assert not watcher.step()
        pass_time(bench, PATIENCE_S // 4)
    told = bench.said("unreachable")
    assert len(told) == 2  # once a round
    assert "status 503: closed; counts as withholding if that lasts 100 s" in told[0]
    assert (bench.said("asked"), bench.said("found")) == ([], [])
    assert bench.balance(bench.chain.identities.watcher) == before
    store.down = False
    while watcher.step():
        continue
    assert watcher.unread == {}
    assert bench.statuses() == ["settled", "void"]


def test_a_store_that_stays_away_is_asked_on_chain(bench: FraudBench) -> None:
    store = FlakyStore(bench.public)
    watcher = watching(bench, store)
    assert not watcher.step()
    pass_time(bench, PATIENCE_S)
    assert watcher.step()
    assert "counts as withholding now" in bench.said("unreachable")[-1]
    assert [text.split(":")[1] for text in bench.said("asked")] == [" rule withheld"] * 2
    due = watcher.next_deadline()
    assert due is not None
    bench.chain.wait_until(due)
    while watcher.step():  # the store never comes back, and nobody answers
        continue
    assert bench.reason(1) == "withheld data"


def test_what_was_asked_for_an_outage_ends_with_it(bench: FraudBench) -> None:
    store = FlakyStore(bench.public)
    watcher = watching(bench, store)
    assert not watcher.step()
    pass_time(bench, PATIENCE_S)
    assert watcher.step()
    store.down = False
    while watcher.step():
        continue
    assert watcher.standing[RoundId(1)] == []
    assert bench.statuses() == ["settled", "void"]
    assert bench.reason(2) == "wrong aggregate"


def test_a_store_may_not_be_away_in_the_second_half_of_the_window(bench: FraudBench) -> None:
    pass_time(bench, WINDOW_S // 2)
    assert watching(bench, FlakyStore(bench.public)).step()
    assert "counts as withholding now" in bench.said("unreachable")[0]
    assert len(bench.said("asked")) == 2


def test_a_patience_of_ones_own_is_at_most_a_quarter_of_the_window(bench: FraudBench) -> None:
    watcher = watching(bench, FlakyStore(bench.public), store_patience_s=10 * WINDOW_S)
    watcher.step()
    pass_time(bench, PATIENCE_S)
    assert watcher.step()
    hasty = watching(bench, FlakyStore(bench.public), store_patience_s=0)
    bench.notices.clear()
    hasty.step()
    assert "counts as withholding now" in bench.said("unreachable")[0]


def test_a_silent_store_is_not_asked_for_every_artifact(bench: FraudBench) -> None:
    store = FlakyStore(bench.public)
    reader = RoundReader(bench.chain.federation, store)
    with pytest.raises(StoreError, match="503"):
        reader.read(RoundId(2))
    assert store.asked == 1
    assert reader.read(RoundId(2), without_store=True).rule is None
    assert store.asked == 4


def test_updates_that_are_refused_do_not_hide_the_documents(bench: FraudBench) -> None:
    store = FlakyStore(bench.public, "get_vector")
    round_ = RoundReader(bench.chain.federation, store).read(RoundId(2), without_store=True)
    assert round_.rule is not None
    assert round_.rewards is not None
    assert round_.updates == [None] * 5


def test_a_coordinator_answers_what_it_can_read(bench: FraudBench) -> None:
    chain = bench.chain
    round_ = RoundReader(chain.federation, bench.public).read(RoundId(2))
    asker = chain.identities.contributors[0]
    for question in (
        record_moves.demand_chunk(round_, CaseKind.UPDATE, 0, 3),
        record_moves.demand_record(round_, CaseKind.SCORE, 2),
    ):
        chain.referee.ask(asker, question)
    store = FlakyStore(bench.public, "get_vector")  # its disk fails, say
    rounds = RoundReader(chain.federation, store)
    responder = Responder(chain.federation, chain.referee, rounds, chain.identities.coordinator)
    assert [given.kind for given in responder.step()] == ["score"]
    store.down = False
    assert [given.kind for given in responder.step()] == ["update"]


# --- an account that cannot pay, a node that refuses ---------------------------------------------


def test_a_watcher_that_cannot_pay_says_so_and_goes_on(bench: FraudBench) -> None:
    poor = Account.from_key("0x" + "77" * 32)
    watcher = watching(bench, bench.public, poor)
    for _ in range(3):
        assert not watcher.step()
    (told,) = bench.said("not sent")
    assert "challenge_chunk" in told
    assert "insufficient funds" in told
    assert told.endswith("balance 0 ETH")
    assert len(bench.said("planned")) == 1
    bench.play(watched=False)
    watcher.step()
    assert len(bench.said("examined")) == 2  # rounds 1 and 3
    send(bench, poor.address, ETHER)
    assert watcher.step()
    assert bench.reason(2) == "wrong aggregate"


def send(bench: FraudBench, to: str, wei: int) -> None:
    rpc, rich = bench.chain.federation.rpc, bench.chain.identities.watcher
    fields = {
        "type": 2,
        "chainId": rpc.quantity("eth_chainId"),
        "nonce": rpc.quantity("eth_getTransactionCount", rich.address, "latest"),
        "maxFeePerGas": 3 * 10**9,
        "maxPriorityFeePerGas": 1,
        "gas": 21_000,
        "value": wei,
        "to": to,
    }
    bench.chain.node.mine([bytes(rich.sign_transaction(fields).raw_transaction)])


class Told(Exception):
    """Ends a watcher that would never end."""


class MoodyWatcher:
    """Fails as it is told to, look after look."""

    def __init__(self, *looks: Exception | None) -> None:
        self._looks = list(looks)

    def step(self) -> bool:
        if not self._looks:
            raise Told
        look = self._looks.pop(0)
        if look is not None:
            raise look
        return False


def test_following_survives_whatever_the_node_refuses() -> None:
    limit = LedgerError("node: eth_getLogs refused: rate limit")
    looks = [None, limit, limit, ChainUnavailableError("node: no answer"), None, limit]
    told: list[Notice] = []
    with pytest.raises(Told):
        _follow(MoodyWatcher(*looks), told.append, 0.0, 60.0)  # type: ignore[arg-type]
    assert [notice.text for notice in told] == [
        "node: eth_getLogs refused: rate limit",  # once, however often
        "node: no answer",
        "node: eth_getLogs refused: rate limit",
    ]


def test_following_ends_where_nothing_else_is_to_be_had() -> None:
    with pytest.raises(LedgerError, match="rate limit"):
        _follow(
            MoodyWatcher(None, LedgerError("rate limit")),  # type: ignore[arg-type]
            lambda _: None,
            0.0,
            0.0,
        )


def test_looking_once_at_a_store_that_fails_is_a_failure(
    bench: FraudBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name.endswith(".rule.json"):
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    served = Dispatcher(bench.chain.node, dev=False)
    handle = serve_in_thread(served)
    try:
        at = ["--rpc", handle.url, "--store", str(bench.folder)]
        at += ["--contract", bench.chain.federation.address, "--dry-run", "--once"]
        done = CliRunner().invoke(app, ["watch", *at])
    finally:
        handle.stop()
        served.close()
    assert isinstance(done.exception, StoreError)
    assert done.exception.exit_code == 6
    assert "round 2: unreachable" in done.stdout
