"""When pending transactions become a block: at once, every so often, or when asked."""

import threading
from typing import Final, Literal

from contracts.node.pool import TransactionPool
from coordinator.protocol.errors import ConfigError, FedproofError

MiningMode = Literal["instant", "interval", "manual"]
DEFAULT_INTERVAL_S: Final = 0.2
_RETRY_S: Final = 1.0


class Miner:
    """Turns a pool into blocks.

    Parameters
    ----------
    mode
        ``"instant"``: :meth:`transaction_added` mines before it returns; ``"interval"``: a
        thread mines whatever has gathered, many transactions a block; ``"manual"``: nothing
        happens by itself.
    interval_s
        How long transactions gather in interval mode.
    """

    def __init__(
        self,
        pool: TransactionPool,
        mode: MiningMode = "instant",
        *,
        interval_s: float = DEFAULT_INTERVAL_S,
    ) -> None:
        if mode not in ("instant", "interval", "manual"):
            raise ConfigError(f"mining mode {mode!r}; expected instant, interval or manual")
        if not 0.0 < interval_s <= 3600.0:
            raise ConfigError(f"mining interval {interval_s!r} s; expected above 0, at most 3600")
        self.mode = mode
        self._pool = pool
        self._interval_s = interval_s
        self._arrived = threading.Event()
        self._stopping = threading.Event()
        self._failure: FedproofError | None = None
        self._thread: threading.Thread | None = None
        if mode == "interval":
            self._thread = threading.Thread(target=self._run, name="fedproof-miner", daemon=True)
            self._thread.start()

    def transaction_added(self) -> None:
        """React to a new pending transaction."""
        if self.mode == "instant":
            while self._pool.has_ready():
                self._pool.mine()
        elif self.mode == "interval":
            self._arrived.set()

    def check(self) -> None:
        """Raise what keeps the mining thread from making blocks, while it does.

        Raises
        ------
        FedproofError
            The thread's own error, such as a full disk.
        """
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._arrived.wait()
            if self._stopping.wait(self._interval_s):
                return
            self._arrived.clear()
            try:
                while self._pool.has_ready() and not self._stopping.is_set():
                    self._pool.mine()
                self._failure = None
            except FedproofError as failed:
                self._failure = failed
                if self._stopping.wait(_RETRY_S):
                    return
                self._arrived.set()  # what was pending still is: a full disk may have room again

    def stop(self) -> None:
        """End the thread; what is still pending is lost. Harmless when repeated."""
        self._stopping.set()
        self._arrived.set()
        if self._thread is not None:
            self._thread.join()
