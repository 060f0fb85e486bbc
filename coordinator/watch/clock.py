"""The chain time that a transaction sent now would see."""

from contracts.rpc import Rpc


def next_time(rpc: Rpc) -> int:
    """Return the time of the block that is being made, in seconds of chain time.

    The head's own time will not do: on an idle chain it stands still while deadlines pass.
    """
    head = rpc.block().timestamp
    pending = rpc.request("eth_getBlockByNumber", "pending", False)
    found = int(pending["timestamp"], 16) if pending else 0
    return max(head + 1, found)
