"""A web3 provider over the embedded node in this process: no sockets, same answers.

Requests use the same dispatcher and encoding as over HTTP, so code works the same with both. No
middleware is needed.
"""

import json
from typing import Any, cast

from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from contracts.node.rpc import Dispatcher


class EmbeddedProvider(JSONBaseProvider):
    """``Web3(EmbeddedProvider(Dispatcher(node)))``.

    Parameters
    ----------
    dispatcher
        Answers the requests; the caller closes it and its node.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self.dispatcher = dispatcher

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer one request."""
        return cast(RPCResponse, self._exchange(self.encode_rpc_request(method, params)))

    def make_batch_request(
        self, requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:
        """Answer several requests, in order."""
        answers = self._exchange(self.encode_batch_rpc_request(requests))
        return cast("list[RPCResponse] | RPCResponse", answers)

    def _exchange(self, body: bytes) -> Any:
        answer = self.dispatcher.handle(body)
        assert answer is not None  # web3 always sends an id
        return json.loads(answer)  # this process wrote it
