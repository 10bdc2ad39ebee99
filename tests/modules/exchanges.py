"""Calls and answers for tests that run a module's hooks by themselves."""

from collections.abc import AsyncIterator, Iterable
from time import perf_counter_ns, time_ns
from types import SimpleNamespace
from typing import Any

import orjson

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.operations import CHAT
from instance.chute.stream import encode_event
from instance.chute.targets import Target
from instance.core.clock import Clock
from instance.core.ids import new_id
from instance.core.principals import Principal
from instance.core.schedule import Schedule


def target(label: str = "openai/gpt-4o") -> Target:
    provider, _, model = label.partition("/")
    made: Any = SimpleNamespace(
        name=provider, region="", key_name="default", dialect="openai.chat", url=None, timeout_s=None
    )
    return Target(made, model)


def exchange(
    *, model: str = "gpt-4o", stream: bool = False, headers: dict[bytes, bytes] | None = None, **more: Any
) -> Exchange:
    """A chat call as it is when the chain begins, with one target."""
    x = Exchange(new_id("tr_"), perf_counter_ns(), time_ns(), "/v1/chat/completions", headers or {}, CHAT)
    x.request_id = "req_" + x.id[3:]
    x.principal = Principal(1, "proxy", ("proxy:call", "self"), name="test", prefix="sk-sy-tes")
    x.req = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    x.raw = orjson.dumps(x.req)
    x.stream = stream
    x.model_requested = model
    x.targets = [target(f"openai/{model}")]
    for name, value in more.items():
        setattr(x, name, value)
    return x


def core(clock: Clock | None = None, **services: Any) -> Any:
    """As much of a core as a module's `start` needs when it stores nothing."""
    server = SimpleNamespace(trusted_proxies=[])
    settings = SimpleNamespace(server=server, allow_private_networks=False)
    schedule = Schedule()
    return SimpleNamespace(clock=clock or Clock(), services=services, settings=settings, hosted=None, schedule=schedule)


def whole(text: str = "hello", by: Target | None = None) -> Answer:
    obj = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    return Answer(body=orjson.dumps(obj), obj=obj, target=by or target())


def event(text: str) -> Delta:
    obj = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return Delta(encode_event(obj), obj)


def streamed(pieces: AsyncIterator[list[Delta]] | Iterable[str], release: Any = None) -> Answer:
    if isinstance(pieces, AsyncIterator):
        return Answer(events=pieces, target=target(), release=release)
    texts = list(pieces)

    async def events() -> AsyncIterator[list[Delta]]:
        for text in texts:
            yield [event(text)]

    return Answer(events=events(), target=target(), release=release)


def http_failure(
    status: int, body: Any = b"", headers: dict[bytes, bytes] | None = None, provider: str = "openai"
) -> CallFailed:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return CallFailed("http", target(f"{provider}/gpt-4o"), status=status, headers=headers, body=data)


class Script:
    """A `call` that answers from a list: an exception is raised, an answer returned; counts how often it was called."""

    def __init__(self, *outcomes: Exception | Answer) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    async def __call__(self, x: Exchange) -> Answer:
        self.calls += 1
        x.attempts.append({"n": self.calls, "error": None})
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            x.attempts[-1]["error"] = "http"
            raise outcome
        return outcome


def trail(x: Exchange, module: str) -> list[tuple[str, dict[str, Any]]]:
    """(action, detail) of each decision of a module."""
    return [(entry["action"], entry["detail"]) for entry in x.decisions if entry["module"] == module]
