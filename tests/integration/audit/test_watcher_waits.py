"""A watcher whose earlier transaction waits to be mined: its deposit is not sent twice."""

from collections.abc import Callable
from typing import Any

import pytest
from fraud_bench import GUILTY, FraudBench

from contracts.binding.transactions import TransactionWaitingError

Make = Callable[..., FraudBench]


def test_nothing_is_sent_until_it_is_mined(
    make_bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": 11})
    for _ in range(GUILTY):
        bench.play(watched=False)
    chain, waits = bench.chain, [True, True, False]
    watcher = bench.watcher(lag_rounds=0)
    transactor = chain.referee.transactor
    idle_nonce, sent = transactor.idle_nonce, []

    def waiting(sender: Any) -> int:
        if waits.pop(0):
            raise TransactionWaitingError("1 transaction(s) on their way")
        return idle_nonce(sender)

    monkeypatch.setattr(transactor, "idle_nonce", waiting)
    send_each = transactor.send_each
    monkeypatch.setattr(
        transactor, "send_each", lambda batch: sent.append(batch) or send_each(batch)
    )
    assert not watcher.step()
    assert not watcher.step()
    assert not sent
    assert bench.said("not sent") == ["1 transaction(s) on their way"]
    assert watcher.step()
    assert sent
