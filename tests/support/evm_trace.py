"""Records which instruction ran after which, on py-evm; read by ``benchmarks.coverage``."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from eth.vm.code_stream import CodeStream

STOP = 0
_edges: dict[bytes, set[int]] = defaultdict(set)


def _traced(stream: CodeStream) -> Iterator[int]:
    """As py-evm's, and keeps each pair of places one after the other."""
    code = stream._raw_code_bytes
    edges, before, size = _edges[code], 0, len(code)
    while (here := stream.program_counter) < size:
        edges.add(before << 16 | here)
        before = here
        stream.program_counter = here + 1
        yield code[here]
    yield STOP


def start() -> None:
    """From now on, in this process."""
    CodeStream.__iter__ = _traced  # type: ignore[method-assign]


def write(folder: Path) -> None:
    """The instructions that this process executed, in one file for each process."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = {
        code.hex(): sorted((edge >> 16, edge & 0xFFFF) for edge in edges)
        for code, edges in _edges.items()
    }
    (folder / f"{os.getpid()}.json").write_text(json.dumps(pairs))
