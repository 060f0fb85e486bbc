"""A node that answers as other clients do: scripted answers in front of the embedded chain."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from federation_world import COORDINATOR, ETHER, EVERYONE, TERMS
from web3 import Web3
from web3.providers.base import JSONBaseProvider

from contracts.binding.federation import Federation
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher

Answer = dict[str, Any]
Script = Callable[[str, Any], Answer | None]
"""Maps method and parameters to an answer; ``None`` forwards the request to the chain."""


def result(value: Any) -> Answer:
    return {"jsonrpc": "2.0", "id": 1, "result": value}


def refusal(code: int, message: str, **more: Any) -> Answer:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message, **more}}


class ScriptedProvider(JSONBaseProvider):
    """Forwards requests to a chain, except those that ``script`` answers."""

    def __init__(self, chain: EmbeddedProvider) -> None:
        super().__init__()
        self.endpoint_uri = "http://scripted"
        self.chain = chain
        self.script: Script = lambda _method, _parameters: None
        self.methods: list[str] = []

    def make_request(self, method: Any, params: Any) -> Any:
        self.methods.append(method)
        answer = self.script(method, params)
        return self.chain.make_request(method, params) if answer is None else answer

    def answers(self, method: str, *answers: Answer) -> None:
        """Answer one method with each of these in turn, and from then on with the last."""
        left = list(answers)

        def script(asked: str, _parameters: Any) -> Answer | None:
            if asked != method:
                return None
            return left.pop(0) if len(left) > 1 else left[0]

        self.script = script


class ScriptedFederation:
    """A federation deployed behind a scripted node."""

    def __init__(self, node: EmbeddedNode) -> None:
        self.node = node
        self.provider = ScriptedProvider(EmbeddedProvider(Dispatcher(node, dev=True)))
        self.federation = Federation.deploy(Web3(self.provider), COORDINATOR, TERMS)


@contextmanager
def scripted_federation() -> Iterator[ScriptedFederation]:
    """Deploy a federation on a chain in memory."""
    alloc = {account.address: 100 * ETHER for account in EVERYONE}
    node = EmbeddedNode.create_or_open(None, GenesisConfig(alloc=alloc))
    try:
        yield ScriptedFederation(node)
    finally:
        node.close()
