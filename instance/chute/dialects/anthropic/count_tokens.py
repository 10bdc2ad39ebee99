"""`POST /v1/messages/count_tokens`: asked of Anthropic where it would serve the call, else estimated."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.answer import JSON
from instance.chute.caller import model_allowed
from instance.chute.dialects.anthropic.caller_request import is_sendable
from instance.chute.dialects.anthropic.operation import Messages
from instance.chute.dialects.anthropic.request import write_request
from instance.chute.exchange import Exchange
from instance.chute.provider_errors import read_provider_error, redact
from instance.chute.tokens import count_prompt_tokens
from instance.chute.upstream import UpstreamError
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.side_routes import SideCall
    from instance.chute.targets import Target

PATH = "/v1/messages/count_tokens"
ANSWER_MAX_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 5.0
WAIT_S = 15.0
"""After this the caller gets an estimate."""
COUNTED = frozenset(
    (
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "cache_control",
        "mcp_servers",
        "context_management",
        "speed",
    )
)
"""Fields that its own endpoint for this takes."""
MESSAGES = Messages()


async def count_message_tokens(side: SideCall) -> tuple[int, Any]:
    """`{input_tokens, stockyard: {exact}}`. Raises 400 for what is no request, also when it is the provider that says so."""
    if side.method != "POST":
        raise StockyardError("method_not_allowed", "Use POST.", headers={"Allow": "POST"})
    x = Exchange("tr_" + side.request_id[4:], perf_counter_ns(), time_ns(), PATH, dict(side.headers), MESSAGES)
    x.raw = side.body
    x.principal = side.principal
    MESSAGES.take(x, side.chute.core.settings.limits)
    model_allowed(side.principal, x.model_requested)
    side.chute.targets.resolve(x)
    target = x.targets[0] if x.targets else None
    if target is not None and target.provider.dialect == "anthropic" and not target.provider.is_mock:
        tokens = await _asked(side, x, target)
        if tokens is not None:
            return 200, {"input_tokens": tokens, "stockyard": {"exact": True}}
    return 200, {"input_tokens": count_prompt_tokens(x.req), "stockyard": {"exact": False}}


async def _asked(side: SideCall, x: Exchange, target: Target) -> int | None:
    """What the provider counts; `None` when it cannot be asked. Raises 400 for what it refuses to count."""
    native = x.native or {}
    whole = native if is_sendable(native) else write_request(x.req, target.model, default_max_tokens=1).body
    body: JSON = {name: value for name, value in whole.items() if name in COUNTED}
    body["model"] = target.model
    headers = [(b"anthropic-version", x.headers.get(b"anthropic-version") or b"2023-06-01")]
    if x.headers.get(b"anthropic-beta"):
        headers.append((b"anthropic-beta", x.headers[b"anthropic-beta"]))
    try:
        async with asyncio.timeout(WAIT_S):
            response = await target.provider.send(
                PATH.encode(),
                orjson.dumps(body),
                body,
                stream=False,
                headers=headers,
                connect_timeout_s=CONNECT_TIMEOUT_S,
                url=target.url,
            )
            raw = await response.read(ANSWER_MAX_BYTES)
    except (UpstreamError, TimeoutError):
        return None
    if response.status in (400, 413):
        said = read_provider_error(raw)
        raise StockyardError("bad_request", redact(said.message) or "The provider refused to count this.")
    if response.status != 200:
        return None
    try:
        tokens = orjson.loads(raw).get("input_tokens")
    except (orjson.JSONDecodeError, AttributeError):
        return None
    return tokens if type(tokens) is int else None
