"""Write the golden vectors of the protocol from the project's own code.

``python -m tests.vectors.generate`` writes ``tests/vectors/*.json``; with ``--check`` it only says
which of them would change (exit status 1). They change with a format version, never otherwise
(docs/protocol.md). ``openzeppelin.json`` is made by ``openzeppelin.mjs`` instead, from outside.

All digests are lower-case hex without ``0x``; wei are decimal strings; floats are C99 hex.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.vectors import golden_commitments as commitments
from tests.vectors import golden_numbers as numbers
from tests.vectors.golden_inputs import Document

FOLDER = Path(__file__).parent

DOCUMENTS: dict[str, Callable[[], Document]] = {
    "aggregation": numbers.aggregates,
    "canonical_json": numbers.canonical,
    "fixedpoint": numbers.fixed_point,
    "incentives": numbers.incentives,
    "manifest": numbers.manifests,
    "merkle": commitments.merkle_trees,
    "parameter_tree": commitments.parameter_trees,
    "rule": commitments.rules,
    "signing": commitments.signatures,
    "standard_tree": commitments.standard_trees,
    "weights": numbers.apportionments,
}


def rendered(name: str) -> str:
    """Return the text of ``<name>.json`` as today's code gives it."""
    return json.dumps({"format": 1, **DOCUMENTS[name]()}, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    stale = []
    for name in DOCUMENTS:
        path = FOLDER / f"{name}.json"
        text = rendered(name)
        if not path.exists() or path.read_text() != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text)
    print(f"{len(stale)} of {len(DOCUMENTS)} files differ: {', '.join(stale) or 'none'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
