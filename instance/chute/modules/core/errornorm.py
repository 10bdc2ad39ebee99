"""errornorm: whatever went wrong at a provider leaves in one shape, with one of our codes."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import orjson
import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.answer import Answer
from instance.chute.attempt import REQUEST_ID_HEADERS
from instance.chute.exchange import Exchange
from instance.chute.failures import EXCERPT_BYTES, KIND_CODES, KIND_MESSAGES, CallFailed
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.provider_errors import ProviderError, classify, read_provider_error, redact
from instance.chute.retry_after import retry_after_s
from instance.core.errors import REGISTRY, StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

HINTS = {
    "provider_auth_failed": "The key stored here for this provider is wrong, revoked or lacks a right; the key you called with is fine.",
    "provider_quota": "This instance's account at the provider is out of credit: top it up or use another provider.",
    "rate_limited": "Wait, as long as Retry-After says where it is there, send less at once, or spread the calls over more keys or providers.",
    "context_length_exceeded": "Shorten the prompt or use a model with a larger window.",
    "content_filter": "The provider's own filter refused this text; change the text or use another provider.",
    "model_not_found": "Check the model's name with GET /v1/models and at the provider.",
    "not_found": "Check the provider's base URL and the model's name.",
    "body_too_large": "Send less in one call.",
    "bad_upstream_response": "Repeat the call; if it stays, check that the provider's base URL points at an OpenAI-compatible API.",
    "provider_error": "Repeat the call, or set a fallback.",
    "blocked_address": "The provider's base URL must lead to a public address.",
    "timeout_connect": "Check the provider's address, or raise connect_s of the module timeout.",
    "timeout_first_token": "Repeat the call, stream it, or raise first_token_s of the module timeout.",
    "timeout_total": "Stream the call, or raise total_s of the module timeout.",
    "timeout_stream": "Repeat the call.",
}
RETRY_AFTER_MAX_S = 7 * 86_400
NEVER_RETRY = frozenset(("provider_auth_failed", "provider_quota", "blocked_address"))


class Rule(BaseModel):
    """One addition to what is known of providers' errors; the first that fits decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str = Field(default="*", description="Glob of the provider's name.")
    status: int = Field(default=0, ge=0, le=599, description="The provider's status; 0: any.")
    re2: str = Field(
        default="", max_length=1000, description="RE2 expression searched in the error's body; empty: any body."
    )
    code: str = Field(description="Code of the error registry that the caller gets.")
    status_out: int | None = Field(
        default=None, ge=400, le=599, description="Status that the caller gets; unset: the code's own."
    )

    @field_validator("re2")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re2.compile(pattern)
        except re2.error as error:
            raise ValueError(f"the pattern does not compile: {error}") from None
        return pattern

    @field_validator("code")
    @classmethod
    def _registered(cls, code: str) -> str:
        if code not in REGISTRY:
            near = get_close_matches(code, REGISTRY, 1)
            raise ValueError(f"there is no error code {code!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return code


class ErrorNorm(Module):
    """Turns failed attempts into errors that say what happened, who failed and what to do.

    A provider's 4xx keeps its status, but for 401 and 403, which are about this instance's key and not the caller's.
    Keys and internal addresses are taken out of what providers say. The error's body is kept in the trace, shortened.
    """

    name = "errornorm"
    category = "core"
    group = 1
    summary = "One error shape, with a code, a hint and Retry-After, whatever a provider answers"
    default_enabled = True
    kinds = ALL_KINDS

    class Settings(ModuleSettings):
        style: Literal["openai", "raw"] = Field(
            default="openai",
            description="openai: the one error shape. raw: a provider's own JSON error body, with keys and internal addresses removed.",
        )
        include_provider: bool = Field(default=True, description="Name the provider in message and details.")
        hints: bool = Field(default=True, description="Add a sentence that says what to do.")
        map: list[Rule] = Field(
            default=[], max_length=100, description="Own additions: provider, status and pattern to a code."
        )
        provider_auth_status: int = Field(
            default=502,
            ge=400,
            le=599,
            description="Status for the caller when the provider refuses this instance's key.",
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._rules = [(rule, re2.compile(rule.re2) if rule.re2 else None) for rule in self.settings.map]
        self._core: Core | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core

    def hooks(self) -> tuple[str, ...]:
        """`around` only where a provider's own answer may be passed on: else the core asks `shape` itself, as this module is the
        outermost of all."""
        return ("around",) if self.settings.style == "raw" else ()

    async def around(self, x: Exchange, call: Call) -> Answer:
        try:
            return await call(x)
        except CallFailed as failure:
            error = self.shape(x, failure)
            if self.settings.style == "raw":
                raw = self._raw(x, failure, error)
                if raw is not None:
                    return raw
            raise error from failure

    def shape(self, x: Exchange, failure: CallFailed) -> StockyardError:
        """The error that the caller gets for the failure; keeps the provider's body in `x.raw_error` and leaves a note."""
        said = read_provider_error(failure.body, failure.headers) if failure.body else ProviderError(failure.reason)
        wait_s = retry_after_s(failure.status, failure.headers, failure.body)
        code, status = self._code(failure, said, wait_s)
        message = self._redacted(x, said.message)
        details: dict[str, Any] = {"provider": failure.provider} if self.settings.include_provider else {}
        details["status"] = failure.status or None
        details["attempts"] = len(x.attempts)
        if said.code or said.type:
            details["provider_code"] = self._redacted(x, said.code or said.type)
        for name in REQUEST_ID_HEADERS:
            if name in failure.headers:
                details["provider_request_id"] = failure.headers[name].decode("latin-1")[:200]
                break
        error = StockyardError(
            code,
            self._message(failure, code, message),
            param=said.param[:200] or None,
            details=details,
            retryable=self._retryable(failure, code),
        )
        if status:
            error.status = status
        if wait_s is not None and code not in NEVER_RETRY:
            error.headers["Retry-After"] = str(min(ceil(wait_s), RETRY_AFTER_MAX_S))
        if failure.body:
            x.raw_error = self._redacted(x, failure.body[: 2 * EXCERPT_BYTES].decode("utf-8", "replace")).encode()[
                :EXCERPT_BYTES
            ]
        x.note(
            "error",
            {"provider": failure.provider, "raw_status": failure.status, "code": code},
            module=self.name,
            hook="around",
        )
        return error

    def _code(self, failure: CallFailed, said: ProviderError, wait_s: float | None) -> tuple[str, int]:
        """Our code, and the status when it is not the code's own (else 0)."""
        for rule, pattern in self._rules:
            if (
                (not rule.status or rule.status == failure.status)
                and fnmatchcase(failure.provider, rule.provider)
                and (pattern is None or pattern.search(failure.body.decode("utf-8", "replace")))
            ):
                return rule.code, rule.status_out or 0
        if failure.code:
            return failure.code, 0
        if failure.kind != "http":
            return KIND_CODES.get(failure.kind, "provider_error"), 0
        code = classify(failure.status, said, asks_to_wait=wait_s is not None)
        if code == "provider_auth_failed":
            return code, self.settings.provider_auth_status
        if code not in ("provider_quota", "rate_limited") and 400 <= failure.status < 500:
            return code, failure.status
        return code, 0

    def _message(self, failure: CallFailed, code: str, said: str) -> str:
        provider = (
            f"The provider {failure.provider!r}"
            if self.settings.include_provider and failure.provider
            else "The provider"
        )
        if failure.message:
            return self._with_hint(failure.message, code)
        if failure.kind == "http":
            head = f"{provider} answered {failure.status}"
        else:
            head = f"{provider} {KIND_MESSAGES.get(failure.kind, 'failed')}"
        return self._with_hint(f"{head}: {said}" if said else head, code)

    def _with_hint(self, message: str, code: str) -> str:
        if message[-1] not in ".!?":
            message += "."
        hint = HINTS.get(code) if self.settings.hints else None
        return f"{message} {hint}" if hint else message

    def _retryable(self, failure: CallFailed, code: str) -> bool | None:
        if code in NEVER_RETRY:
            return False
        asked = failure.headers.get(b"x-should-retry")
        return {b"true": True, b"false": False}.get(asked) if asked is not None else None

    def _redacted(self, x: Exchange, text: str) -> str:
        text = redact(text, self._secrets())
        censor = x.state.get("redact")
        return censor(text) if censor is not None else text

    def _secrets(self) -> Collection[str]:
        table = self._core.services.get("providers") if self._core is not None else None
        return table.key_texts if table is not None else ()

    def _raw(self, x: Exchange, failure: CallFailed, error: StockyardError) -> Answer | None:
        """The provider's own JSON body, without secrets; `None` when it sent no JSON object."""
        try:
            body = orjson.loads(self._redacted(x, failure.body.decode("utf-8", "replace")))
        except orjson.JSONDecodeError:
            return None
        if not isinstance(body, dict):
            return None
        x.status = "error"
        x.error_code = error.code
        x.error_message = error.message
        for name, value in error.headers.items():
            x.response_headers.append((name.lower().encode(), value.encode()))
        return Answer(status=error.status, body=orjson.dumps(body))
