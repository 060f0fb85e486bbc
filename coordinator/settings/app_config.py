"""What a federation agreed to tell participants' Flower apps."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from coordinator.protocol.wire import RUN_TOKEN, SERVER_ROUND

_OWN_PREFIX = RUN_TOKEN.partition("-")[0]


def _apps_key(key: str) -> str:
    if key.startswith(_OWN_PREFIX) or key == SERVER_ROUND:
        raise PydanticCustomError("own_key", "expected another name; the service sets this key")
    return key


AppConfig = dict[
    Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), AfterValidator(_apps_key)],
    bool | int | float | str,
]
"""Keys and values as Flower's run config has them."""
