"""A real question to a provider: does it answer, does it take the key, what models does it have?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.failures import CallFailed
from instance.chute.provider_dialects import PROVIDER_DIALECTS
from instance.chute.upstream import UpstreamError
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.chain import Plan
    from instance.chute.mock_response import MockResponse
    from instance.chute.provider import Provider
    from instance.chute.upstream import UpstreamResponse

CHECK_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 5.0
BODY_MAX_BYTES = 8 << 20
MODELS_MAX = 5000
EXCERPT_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`http_status` is None when no answer came; `models` None when no list came."""

    ok: bool
    latency_us: int
    http_status: int | None
    error: str
    models: tuple[str, ...] | None = None


async def check_models(provider: Provider) -> CheckResult:
    """Asks for the list of models, which costs nothing. Of a provider that has none, any answer but a refusal of the key or a
    5xx is good, and `models` is None."""
    return await _check(provider, None)


async def check_chat(provider: Provider, model: str, plan: Plan | None = None) -> CheckResult:
    """Asks a model for one token; with `plan` through the shim of the provider's dialect."""
    asked = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    if plan is not None and provider.dialect in plan.shims:
        return await _through_shim(provider, asked, plan)
    return await _check(provider, asked)


async def _through_shim(provider: Provider, asked: dict[str, Any], plan: Plan) -> CheckResult:
    from instance.chute.direct import dispatch  # the way of a call; a check of a model list needs none of it
    from instance.chute.exchange import Exchange
    from instance.chute.operations import CHAT
    from instance.chute.targets import Target

    started = perf_counter_ns()
    x = Exchange("tr_check", started, time_ns(), "/v1/chat/completions", {}, CHAT)
    x.req = asked
    x.raw = orjson.dumps(asked)
    x.model_requested = asked["model"]
    x.plan = plan
    x.connect_timeout_s = CONNECT_TIMEOUT_S
    target = Target(provider, asked["model"])
    x.targets = [target]
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await dispatch(x, target)
    except CallFailed as failure:
        status = failure.status or None
        said = failure.message or (_said(failure.status, failure.body) if failure.status else str(failure))
        return CheckResult(False, _since(started), status, said)
    except StockyardError as error:
        return CheckResult(False, _since(started), None, error.message)
    except TimeoutError:
        return CheckResult(False, _since(started), None, f"no answer within {CHECK_TIMEOUT_S:g} s")
    return CheckResult(True, _since(started), 200, "")


async def _check(provider: Provider, chat: dict[str, Any] | None) -> CheckResult:
    started = perf_counter_ns()
    status: int | None = None
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            response = await _ask(provider, chat)
            status = response.status
            try:
                body = await response.read(BODY_MAX_BYTES)
            finally:
                response.close()
    except UpstreamError as error:
        return CheckResult(False, _since(started), status, error.message)
    except StockyardError as error:
        return CheckResult(False, _since(started), status, error.message)
    except TimeoutError:
        return CheckResult(False, _since(started), status, f"no answer within {CHECK_TIMEOUT_S:g} s")
    if chat is None and not provider.spec.lists_models:
        refused = status >= 500 or (status in (401, 403) and provider.spec.auth != "shim")
        return CheckResult(not refused, _since(started), status, _said(status, body) if refused else "")
    if status != 200:
        return CheckResult(False, _since(started), status, _said(status, body))
    if chat is not None:
        return CheckResult(True, _since(started), status, "")
    models = _model_ids(body, provider.dialect)
    if models is None:
        return CheckResult(False, _since(started), status, "the answer is not a list of models")
    return CheckResult(True, _since(started), status, "", models)


async def _ask(provider: Provider, chat: dict[str, Any] | None) -> UpstreamResponse | MockResponse:
    if chat is None:
        own = PROVIDER_DIALECTS[provider.dialect].models_path
        if own:
            return await provider.get(own.encode(), connect_timeout_s=CONNECT_TIMEOUT_S)
        openai = provider.openai_url is not None
        return await provider.get(b"/models", connect_timeout_s=CONNECT_TIMEOUT_S, openai=openai)
    body = orjson.dumps(chat)
    return await provider.send(
        b"/chat/completions",
        body,
        chat,
        stream=False,
        headers=[],
        connect_timeout_s=CONNECT_TIMEOUT_S,
        url=provider.openai_url,
    )


def _since(started_ns: int) -> int:
    return (perf_counter_ns() - started_ns) // 1000


def _said(status: int, body: bytes) -> str:
    try:
        error = orjson.loads(body)["error"]
        said = error["message"] if isinstance(error, dict) else str(error)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = body.decode("utf-8", "replace")
    return f"status {status}: {str(said)[:EXCERPT_CHARACTERS]}"


def _model_ids(body: bytes, dialect: str) -> tuple[str, ...] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    rows = found.get(PROVIDER_DIALECTS[dialect].models_rows) if isinstance(found, dict) else found
    if not isinstance(rows, list):
        return None
    ids = [_model_id(row, dialect) for row in rows if isinstance(row, dict)]
    return tuple(sorted({name for name in ids if isinstance(name, str) and name})[:MODELS_MAX])


def _model_id(row: dict[str, Any], dialect: str) -> Any:
    if dialect == "replicate":
        return f"{row['owner']}/{row['name']}" if row.get("owner") and row.get("name") else None
    name = row.get("id") or row.get("name")
    return name.removeprefix("models/") if dialect == "gemini" and isinstance(name, str) else name
