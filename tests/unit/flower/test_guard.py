"""The guard before the SuperLink: who may call what, and how much it may send."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from coordinator.flower import guard as allowance
from coordinator.flower.guard import (
    ARRAY_CHUNK_BYTES,
    Allowances,
    FleetWire,
    Guard,
    GuardLimits,
    Push,
)
from coordinator.flower.instruction_order import (
    HandedInstruction,
    InstructionOrder,
    OrderReport,
)

SECRET = "s3cret"
LIMITS = GuardLimits(
    object_bytes=1_000, objects=3, call_bytes=100, calls_at_once=2, waiting=3, body_s=0.2
)


class SuperLink:
    """Remembers what came through; holds requests up while ``gate`` is closed."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.inside = self.most_inside = 0
        self.status, self.answer = 200, b"ok"
        self.request_limiter = asyncio.Event()
        self.request_limiter.set()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            self.seen.append(("lifespan", b""))
            return
        message = await receive()
        assert message["more_body"] is False
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        await self.request_limiter.wait()
        self.inside -= 1
        self.seen.append((scope["path"], message["body"]))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.answer[:1], "more_body": True})
        await send({"type": "http.response.body", "body": self.answer[1:]})


async def key_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """``known`` is registered, however its key is written."""
    key = headers.get(b"flwr-public-key", b"").lower()
    return key if key == b"known" else None


def read_push(body: bytes) -> Push | None:
    """Count a byte as an object; what begins with ``?`` is no reply, with ``!`` somebody else's."""
    if body.startswith(b"?"):
        return None
    fault = "not your message" if body.startswith(b"!") else ""
    return Push(len(body), body, fault, body.decode())


def handed(answer: bytes) -> list[HandedInstruction]:
    """Take each ``i`` for an instruction, known by the letter after it."""
    parts = answer.decode().split("i")[1:]
    return [HandedInstruction(part[:1], 1) for part in parts]


class Client:
    """Sends requests to a guard."""

    def __init__(
        self,
        *,
        registered_only: bool = True,
        limits: GuardLimits = LIMITS,
        order: InstructionOrder | None = None,
    ) -> None:
        self.link = SuperLink()
        self.read = 0
        self.guard = Guard(
            self.link,
            limits,
            SECRET,
            frozenset({"10.0.0.1"}),
            key_of if registered_only else None,
            FleetWire(read_push, handed),
            order,
        )

    async def post(
        self,
        path: str,
        parts: Sequence[bytes] = (b"",),
        *,
        peer: str = "10.0.0.9",
        headers: Mapping[str, str] | None = None,
        stall: bool = False,
    ) -> tuple[int, bytes]:
        """Return status and body of the answer; ``stall`` never sends the last part."""
        waiting = list(parts)
        answered: list = []

        async def receive():
            if not waiting:
                await asyncio.sleep(60)
            part = waiting.pop(0)
            self.read += len(part)
            return {"type": "http.request", "body": part, "more_body": stall or bool(waiting)}

        async def send(message) -> None:
            answered.append(message)

        raw = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
        scope = {"type": "http", "path": path, "headers": raw, "client": (peer, 1234)}
        await self.guard(scope, receive, send)
        return answered[0]["status"], b"".join(part["body"] for part in answered[1:])


NODE = {"flwr-public-key": "known"}


def run(case) -> None:
    asyncio.run(asyncio.wait_for(case, 30))


def test_a_registered_nodes_call_goes_through_whole():
    async def case() -> None:
        client = Client()
        status, body = await client.post("/v1/fleet/pull-messages", [b"ab", b"cd"], headers=NODE)
        assert (status, body) == (200, b"ok")
        assert client.link.seen == [("/v1/fleet/pull-messages", b"abcd")]

    run(case())


def test_a_strangers_body_is_not_even_read():
    async def case() -> None:
        client = Client()
        for headers in ({}, {"flwr-public-key": "unknown"}):
            status, body = await client.post("/v1/fleet/push-object", [b"x" * 500], headers=headers)
            assert status == 401
            assert b"not registered" in body
        assert (client.read, client.link.seen) == (0, [])
        open_to_all = Client(registered_only=False)
        assert (await open_to_all.post("/v1/fleet/activate-node", [b"x"]))[0] == 200

    run(case())


def test_bodies_are_bounded_announced_or_not():
    async def case() -> None:
        client = Client()
        honest = await client.post("/v1/fleet/push-object", [b"x" * 1_000], headers=NODE)
        assert honest[0] == 200
        long = {**NODE, "content-length": "3000000000"}
        status, body = await client.post("/v1/fleet/push-object", [b"x"], headers=long)
        assert (status, client.read) == (413, 1_000)
        assert b"more than 1000 bytes" in body
        endless = [b"x" * 400] * 100
        assert (await client.post("/v1/fleet/push-object", endless, headers=NODE))[0] == 413
        assert client.read == 1_000 + 3 * 400
        assert (await client.post("/v1/fleet/get-run", [b"x" * 101], headers=NODE))[0] == 413
        assert [path for path, _ in client.link.seen] == ["/v1/fleet/push-object"]

    run(case())


def test_a_body_that_does_not_arrive_is_not_waited_for():
    async def case() -> None:
        client = Client()
        status, body = await client.post("/v1/fleet/push-object", [b"x"], headers=NODE, stall=True)
        assert status == 408
        assert b"within 0.2 s" in body

    run(case())


def test_a_reply_of_too_many_objects_is_refused():
    async def case() -> None:
        client = Client()
        assert (await client.post("/v1/fleet/push-messages", [b"abc"], headers=NODE))[0] == 200
        status, body = await client.post("/v1/fleet/push-messages", [b"abcd"], headers=NODE)
        assert status == 413
        assert b"4 objects, at most 3" in body

    run(case())


PUSH, PULL = "/v1/fleet/push-messages", "/v1/fleet/pull-messages"


def test_a_message_that_is_not_the_nodes_own_reply_is_refused():
    async def case() -> None:
        client = Client()
        status, body = await client.post(PUSH, [b"!"], headers=NODE)
        assert (status, b"not your message" in body) == (403, True)
        assert client.link.seen == []
        # what is no such call is Flower's to refuse
        assert (await client.post(PUSH, [b"?"], headers=NODE))[0] == 200

    run(case())


def test_a_node_may_reply_as_often_as_it_was_given_instructions():
    async def case() -> None:
        client = Client()

        async def push(reply: int, **headers: str) -> int:
            return (await client.post(PUSH, [b"%c" % (65 + reply)], headers=NODE | headers))[0]

        first = [await push(n) for n in range(allowance.INITIAL_REPLIES)]
        assert first == [200] * allowance.INITIAL_REPLIES
        status, body = await client.post(PUSH, [b"z"], headers=NODE)
        assert (status, b"more replies than" in body) == (429, True)
        # another way to write its key makes it no other node
        other = {"flwr-public-key": "Known"}
        assert (await client.post(PUSH, [b"z"], headers=other))[0] == 429
        # an answer lost on the way: the same reply comes again
        assert await push(0) == 200
        client.link.answer = b"instruction, another instruction"
        await client.post(PULL, headers=NODE)
        given = client.link.answer.count(b"i")
        assert [await push(20 + n) for n in range(given + 1)] == [200] * given + [429]
        # an error is no instruction
        client.link.status = 500
        await client.post(PULL, headers=NODE)
        assert await push(50) == 429

    run(case())


def test_a_reply_to_an_earlier_instruction_is_noticed_and_goes_through():
    async def case() -> None:
        order = InstructionOrder()
        client = Client(order=order)
        for name in (b"ia", b"ib"):
            client.link.answer = name
            await client.post(PULL, headers=NODE)
        client.link.answer = b"ok"
        assert (await client.post(PUSH, [b"a"], headers=NODE))[0] == 200
        assert order.report == OrderReport({1: 1}, frozenset({1}))
        assert (await client.post(PUSH, [b"b"], headers=NODE))[0] == 200
        assert order.report == OrderReport({1: 1}, frozenset())
        assert client.link.seen[-2:] == [(PUSH, b"a"), (PUSH, b"b")]

    run(case())


def test_allowances_are_bounded():
    allowances = Allowances()
    repeated = [allowances.take(b"node", b"same") for _ in range(allowance.MAX_REPEATS + 1)]
    assert repeated == [True] * allowance.MAX_REPEATS + [False]
    allowances.give(b"node", 10**9)
    taken = [allowances.take(b"node", b"%d" % n) for n in range(allowance.MAX_REPLIES + 1)]
    assert taken == [True] * allowance.MAX_REPLIES + [False]
    assert len(allowances._nodes[b"node"].sent) == allowance.MAX_REPLIES
    for n in range(allowance.MAX_NODES):
        allowances.give(b"%d" % n, 1)
    assert len(allowances._nodes) == allowance.MAX_NODES


def test_one_nodes_calls_take_turns_and_others_do_not_wait():
    async def case() -> None:
        client = Client(registered_only=False)
        client.link.request_limiter.clear()
        greedy, other = {"flwr-public-key": "greedy"}, {"flwr-public-key": "other"}
        calls = [
            asyncio.ensure_future(client.post("/v1/fleet/get-run", headers=greedy))
            for _ in range(6)
        ]
        await asyncio.sleep(0.05)
        assert client.link.inside == 2
        patient = asyncio.ensure_future(client.post("/v1/fleet/get-run", headers=other))
        await asyncio.sleep(0.05)
        assert client.link.inside == 3
        client.link.request_limiter.set()
        statuses = sorted([(await call)[0] for call in calls])
        assert statuses == [200] * 5 + [503]
        assert (await patient)[0] == 200
        assert client.guard._turns == {}

    run(case())


@pytest.mark.parametrize(
    ("path", "peer", "headers", "status"),
    [
        ("/v1/runtime/acquire-task", "127.0.0.1", {}, 200),
        ("/v1/runtime/acquire-task", "10.0.0.1", {}, 200),
        ("/v1/runtime/acquire-task", "10.0.0.9", {}, 404),
        ("/v1/control/start-run", "127.0.0.1", {"fedproof-control": SECRET}, 200),
        ("/v1/control/start-run", "127.0.0.1", {"fedproof-control": "guess"}, 404),
        ("/v1/control/start-run", "127.0.0.1", {}, 404),
        ("/v1/control/start-run", "10.0.0.9", {"fedproof-control": SECRET}, 404),
        ("/docs", "127.0.0.1", {"fedproof-control": SECRET}, 404),
        ("/openapi.json", "10.0.0.9", NODE, 404),
        ("/v1/fleet", "10.0.0.9", NODE, 404),
        ("//v1/control/start-run", "10.0.0.9", {"fedproof-control": SECRET}, 404),
    ],
)
def test_what_starts_programs_is_this_hosts_alone(path: str, peer: str, headers, status: int):
    async def case() -> None:
        client = Client()
        assert (await client.post(path, peer=peer, headers=headers))[0] == status

    run(case())


def test_sockets_of_other_kinds_are_closed_and_the_lifespan_is_flowers():
    async def case() -> None:
        client = Client()
        sent: list = []

        async def send(message) -> None:
            sent.append(message)

        await client.guard({"type": "websocket", "path": "/v1/fleet/x"}, None, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]
        await client.guard({"type": "lifespan"}, None, send)
        assert client.link.seen == [("lifespan", b"")]

    run(case())


@pytest.mark.parametrize(
    ("vector_bytes", "object_bytes", "objects"),
    [
        (40_000, 40_000 + 65_536, 17),
        (ARRAY_CHUNK_BYTES, ARRAY_CHUNK_BYTES + 65_536, 17),
        (40_000_000, ARRAY_CHUNK_BYTES + 65_536, 24),
    ],
)
def test_limits_follow_from_the_models_size(vector_bytes: int, object_bytes: int, objects: int):
    limits = GuardLimits.of_model(vector_bytes)
    assert (limits.object_bytes, limits.objects) == (object_bytes, objects)
    assert limits.call_bytes > 100 * objects


@pytest.mark.parametrize("path", ["/v1/fleet/push-object", "/v1/fleet/pull-messages"])
def test_a_node_is_told_to_try_again_what_flower_failed_at(path: str):
    async def case() -> None:
        client = Client()
        client.link.status = 500
        assert (await client.post(path, headers=NODE))[0] == 503
        client.link.status = 404
        assert (await client.post(path, headers=NODE))[0] == 404

    run(case())


def test_our_own_server_app_is_told_so_too():
    async def case() -> None:
        client = Client()
        client.link.status = 500
        assert (await client.post("/v1/runtime/pull-messages", peer="127.0.0.1"))[0] == 503

    run(case())


def test_few_pushes_of_all_nodes_reach_flower_at_once():
    async def case() -> None:
        limits = GuardLimits(object_bytes=1_000, objects=3, pushes_at_once=3)
        client = Client(registered_only=False, limits=limits)
        client.link.request_limiter.clear()
        calls = ["/v1/fleet/push-object", "/v1/fleet/push-messages"] * 5
        posts = [
            asyncio.create_task(client.post(path, [b"x"], peer=f"10.0.1.{number}"))
            for number, path in enumerate(calls)
        ]
        pull = asyncio.create_task(client.post("/v1/fleet/pull-messages", peer="10.0.2.1"))
        while client.link.inside < 4:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert client.link.inside == 4, "three pushes, and what is no push"
        client.link.request_limiter.set()
        assert {(await post)[0] for post in [*posts, pull]} == {200}
        assert client.link.most_inside <= 4
        assert len(client.link.seen) == len(calls) + 1

    run(case())
