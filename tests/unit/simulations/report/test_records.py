"""A run's records have the columns that its audit expects."""

import dataclasses

from coordinator.audit.verify.record_audit import ROUND_COLUMNS
from simulations.report.records import RoundRecord


def test_a_round_has_the_columns_that_the_audit_compares() -> None:
    assert tuple(field.name for field in dataclasses.fields(RoundRecord)) == ROUND_COLUMNS
