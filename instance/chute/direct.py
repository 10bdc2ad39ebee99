"""The innermost step for everything but a plain chat call: through a shim, or to a path of an OpenAI-compatible provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import MALFORMED, Attempt, Outbound
from instance.chute.body import body_for
from instance.chute.containment import record_failure
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.stream import EventSplitter
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.containment import Link
    from instance.chute.module import Module
    from instance.chute.targets import Target
    from instance.chute.upstream import UpstreamUrl

CHAT_PATH = b"/chat/completions"
UPSTREAM_ID = b"x-stockyard-upstream-id"
"""The provider's own id of the request."""
TALKS = frozenset(("chat", "completions"))
"""Kinds whose canonical form is chat, so that any provider of chat can serve them."""


NO_SUCH_PATH = (404, 405, 501)
"""Statuses with which a server says that it has no such endpoint."""


async def dispatch(x: Exchange, target: Target) -> Answer:
    """One attempt at a target in whatever dialect it speaks. Raises `CallFailed`, `StockyardError`."""
    provider = target.provider
    plan = x.plan
    found = await plan.shim(provider.dialect) if plan is not None and provider.dialect != "openai" else None
    if found is not None:
        link, fits = found
        if fits is None or fits(x):
            if _serves(link.module, x.kind):
                return await _by_shim(x, target, link)
            if provider.openai_url is None or x.operation.dialect not in provider.speaks:
                raise _not_supported(x, target)
    if provider.dialect != "openai" and provider.openai_url is None:
        raise StockyardError(
            "shim_disabled",
            f"The provider {provider.name!r} speaks {provider.dialect}, and the module that speaks it is switched off.",
            retryable=False,
        )
    if x.kind not in TALKS and x.operation.dialect not in provider.speaks:
        raise _not_supported(x, target)
    x.dialect_out = "openai.chat"
    return await Attempt(x, target).run(lambda attempt: openai_compatible(x, attempt))


async def _by_shim(x: Exchange, target: Target, link: Link) -> Answer:
    shim = link.module
    if not shim.takes_as_it_is(x, target):  # type: ignore[attr-defined]
        x.operation.check_translated(x)
    x.dialect_out = shim.wire_dialect  # type: ignore[attr-defined]
    outer = x.current_module
    x.current_module = link.name
    link.meter.own_calls += 1
    try:
        answer = await Attempt(x, target).run(lambda attempt: shim.call(x, attempt))  # type: ignore[attr-defined]
    except CallFailed:
        raise
    except StockyardError as error:
        error.module = error.module or link.name
        raise
    except Exception as error:  # the shim's own failure: recorded in the trail; without it there is no answer
        record_failure(x, link, error)
        raise CallFailed("bad_response", target, reason=f"{type(error).__name__} in {link.name}") from error
    finally:
        x.current_module = outer
    upstream_id = x.attempts[-1].get("upstream_id")
    if upstream_id:
        x.response_headers.append((UPSTREAM_ID, upstream_id.encode("latin-1", "replace")))
    return answer


async def openai_compatible(
    x: Exchange,
    attempt: Attempt,
    *,
    url: UpstreamUrl | None = None,
    path: Callable[[bytes], bytes] | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    obj: JSON | None = None,
) -> Answer:
    """The call as it is to a path of an OpenAI-compatible provider. `url` and `path` (of the operation's own) are for shims
    whose provider has it elsewhere, `obj` is sent in place of what came. Raises `CallFailed`, `StockyardError`, `UpstreamError`."""
    target = attempt.target
    provider = target.provider
    operation = x.operation
    url = url or target.url or provider.openai_url
    native = ""
    body = None
    if operation.path and operation.dialect in provider.speaks:
        body = operation.native_body(x, target.model) if obj is None else (orjson.dumps(obj), obj)
    if body is not None:
        native = operation.dialect
        x.dialect_out = native
        out = Outbound(operation.path, body[0], body[1], content_type=operation.sent_type(x))
    elif x.kind in TALKS:
        operation.check_translated(x)
        sent, obj = body_for(x, target)
        out = Outbound(CHAT_PATH, sent, obj)
    else:
        raise _not_supported(x, target)
    if path is not None or headers:
        out = out._replace(path=path(out.path) if path is not None else out.path, headers=headers)
    response = await attempt.send(out, url=url)
    if response.status != 200:
        failure = await attempt.refused(response)
        if native and x.kind not in TALKS and failure.status in NO_SUCH_PATH and not _explained(failure.body):
            failure.code, failure.message = "not_supported", _not_supported(x, target).message
        raise failure
    if not native:
        if x.stream:
            return await attempt.streamed(response, EventSplitter())
        raw = await attempt.read(response)
        return attempt.whole(_chat(attempt, raw, response.headers), raw, response.headers)
    if operation.binary(x):
        return await attempt.bytes_streamed(response, response.headers.get(b"content-type", b""))  # type: ignore[arg-type]
    if x.stream:
        return await attempt.streamed(response, operation.reader(x), native=native)
    raw = await attempt.read(response, operation.answer_max_bytes)
    try:
        read = operation.read(x, raw)
    except MALFORMED as error:
        raise attempt.broken(error, response.headers, raw) from error
    answer = attempt.whole(read, raw, response.headers, native=native)
    if x.kind not in TALKS:
        operation.arrived(x, answer, response.headers.get(b"content-type", b""))
    return answer


def _chat(attempt: Attempt, raw: bytes, headers: dict[bytes, bytes]) -> dict[str, object]:
    from instance.chute.operations import CHAT  # operations.py names every dialect; this one needs chat's reading only

    try:
        return CHAT.read(attempt.x, raw)
    except MALFORMED as error:
        raise attempt.broken(error, headers, raw) from error


def _serves(shim: Module, kind: str) -> bool:
    serves: frozenset[str] = shim.serves  # type: ignore[attr-defined]
    return kind in serves or (kind in TALKS and "chat" in serves)


def _explained(body: bytes) -> bool:
    """Whether a 404 is about the model, not about the path."""
    try:
        obj = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    error = obj.get("error") if isinstance(obj, dict) else None
    return isinstance(error, dict) and not str(error.get("message", "")).startswith("Invalid URL")


def _not_supported(x: Exchange, target: Target) -> StockyardError:
    return StockyardError(
        "not_supported",
        f"The provider {target.provider.name!r} has no {x.operation.name.replace('.', ' ')}.",
        param="model",
        retryable=False,
    )
