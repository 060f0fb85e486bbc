"""One profile for properties, and traces of the contracts where they are asked for.

Properties have the usual number of examples, or 10,000 with ``FEDPROOF_FUZZ=1``. With
``FEDPROOF_COVERAGE=FOLDER`` each process leaves there what it ran of the contracts.
"""

import os
from pathlib import Path

import pytest
from histories import examples
from hypothesis import settings
from real_data import real_data_folder

settings.register_profile("fedproof", max_examples=examples(100))
settings.load_profile("fedproof")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with fashion-mnist/ and heart-disease/."""
    return real_data_folder()


TRACES = os.environ.get("FEDPROOF_COVERAGE")
if TRACES:
    import evm_trace

    evm_trace.start()


def pytest_sessionfinish() -> None:
    if TRACES:
        evm_trace.write(Path(TRACES))
