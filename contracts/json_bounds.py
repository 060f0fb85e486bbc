"""JSON from strangers: refused where it nests deeper than anything of ours.

py-evm raises Python's recursion limit to 100,000, and with that the parser runs out of C stack,
which ends the process, long before it raises.
"""

import re
from typing import Final

MAX_DEPTH: Final = 32
MAX_BRACKETS: Final = 100_000
_BRACKET: Final = re.compile(rb"[\[\]{}]")


def check_nesting(body: bytes, *, max_brackets: int = MAX_BRACKETS) -> None:
    """Refuse deeply nested JSON before it is parsed.

    py-evm raises the recursion limit, and the parser would crash the process (ADR 0030).

    Raises
    ------
    ValueError
        If there are too many levels or brackets.

    Examples
    --------
    >>> check_nesting(b'[{"a": []}]')
    >>> check_nesting(b"[" * 33)
    Traceback (most recent call last):
    ValueError: nested deeper than 32, or over 100000 brackets
    """
    depth = 0
    for count, bracket in enumerate(_BRACKET.finditer(body)):
        depth += 1 if bracket[0] in (b"[", b"{") else -1
        if depth > MAX_DEPTH or count > max_brackets:
            raise ValueError(f"nested deeper than {MAX_DEPTH}, or over {max_brackets} brackets")
