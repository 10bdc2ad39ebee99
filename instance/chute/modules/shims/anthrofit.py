"""anthrofit: calls to Anthropic in its own Messages API."""

from __future__ import annotations

from typing import ClassVar, Literal

import orjson
from pydantic import Field

from instance.chute.answer import JSON
from instance.chute.attempt import Outbound
from instance.chute.dialects.anthropic.answer import read_answer
from instance.chute.dialects.anthropic.error_types import OVERLOADED
from instance.chute.dialects.anthropic.event_reader import AnthropicReader
from instance.chute.dialects.anthropic.request import write_request
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.shim import Shim, ShimSettings, answer_head
from instance.chute.targets import Target
from instance.core.errors import StockyardError

PATH = b"/v1/messages"
ANSWER_TOOL = "anthrofit.answer_tool"


class Anthrofit(Shim):
    """Translates a call into the Messages API and its answer back. A call that came in that dialect goes out as it came."""

    name: ClassVar[str] = "anthrofit"
    summary: ClassVar[str] = "Speaks Anthropic's Messages API: tools, images, thinking with signatures, prompt caching"
    dialect: ClassVar[str] = "anthropic"
    wire_dialect: ClassVar[str] = "anthropic.messages"

    class Settings(ShimSettings):
        version: str = Field(
            default="2023-06-01",
            pattern=r"^\d{4}-\d{2}-\d{2}$",
            description="`anthropic-version` where the caller names none.",
        )
        default_max_tokens: int = Field(
            default=4096,
            ge=1,
            le=1_000_000,
            description="`max_tokens` where the caller sets none; the API demands one.",
        )
        late_system: Literal["top", "user"] = Field(
            default="top",
            description="System messages after the first user message: merged into the top, or sent as user text.",
        )
        auto_cache: bool = Field(
            default=True,
            description="Mark tools, system and the last-but-one user message for the prompt cache, unless the caller marks something.",
        )
        beta: list[str] = Field(
            default=[], max_length=32, description="`anthropic-beta` features, beside the caller's."
        )

    settings: Settings

    def write(self, x: Exchange, target: Target) -> Outbound:
        own = self.settings
        written = write_request(
            x.req,
            target.model,
            default_max_tokens=own.default_max_tokens,
            late_system=own.late_system,
            auto_cache=own.auto_cache,
        )
        self.dropped(x, written.dropped)
        x.state[ANSWER_TOOL] = written.answer_tool
        return Outbound(PATH, orjson.dumps(written.body), written.body, self._headers(x))

    def write_native(self, x: Exchange, target: Target) -> Outbound | None:
        body = x.operation.native_body(x, target.model)
        if body is None:
            return None
        x.state[ANSWER_TOOL] = ""
        return Outbound(PATH, body[0], body[1], self._headers(x))

    def _headers(self, x: Exchange) -> tuple[tuple[bytes, bytes], ...]:
        """The API's version and beta features: the caller's, else (features: as well as) those of the settings."""
        version = x.headers.get(b"anthropic-version") or self.settings.version.encode()
        asked = x.headers.get(b"anthropic-beta", b"").decode("latin-1").split(",")
        beta = list(dict.fromkeys(name.strip() for name in (*asked, *self.settings.beta) if name.strip()))
        headers = ((b"anthropic-version", version),)
        return (*headers, (b"anthropic-beta", ",".join(beta).encode("latin-1"))) if beta else headers

    def read(self, x: Exchange, target: Target, headers: dict[bytes, bytes], raw: bytes) -> JSON:
        native = x.operation.dialect == self.wire_dialect
        return read_answer(
            orjson.loads(raw),
            answer_head(x)[0],
            answer_tool=x.state.get(ANSWER_TOOL, ""),
            reasoning=native or self.settings.reasoning == "show",
        )

    def reader(self, x: Exchange, target: Target, headers: dict[bytes, bytes]) -> AnthropicReader:
        native = x.operation.dialect == self.wire_dialect
        created, answer_id = answer_head(x)
        return AnthropicReader(
            target.model,
            created,
            answer_id,
            native=native,
            answer_tool=x.state.get(ANSWER_TOOL, ""),
            reasoning=self.settings.reasoning == "show",
        )

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed | StockyardError:
        if failure.status != OVERLOADED:
            return failure
        return CallFailed(
            failure.kind,
            failure.target,
            status=503,
            headers=failure.headers,
            body=failure.body,
            code="overloaded",
            message=f"The provider {failure.provider!r} is overloaded; repeat the call.",
        )
