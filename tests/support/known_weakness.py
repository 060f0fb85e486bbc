"""Marks a test of an attack that still succeeds (ADR 145).

The test plays the attack and states that the attacker fails. Only that statement may fail: an error
on the way there is an error. What mends the weakness makes the test pass, which a strict expected
failure reports, and the mark is taken out.
"""

import pytest


class AttackSucceedsError(Exception):
    """The attacker got what it wanted."""


def known_weakness(reason: str) -> pytest.MarkDecorator:
    """Mark a test whose :func:`attacker_fails` does not hold today."""
    return pytest.mark.xfail(strict=True, raises=AttackSucceedsError, reason=reason)


def attacker_fails(holds: bool, otherwise: str) -> None:
    """State that the attacker fails.

    Raises
    ------
    AttackSucceedsError
        If it does not; ``otherwise`` says what it got.
    """
    if not holds:
        raise AttackSucceedsError(otherwise)
