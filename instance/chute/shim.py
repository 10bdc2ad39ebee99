"""A shim: the switch, the settings and the quirks of one provider's dialect. The translation itself is pure, in `dialects/`.

Not a link of the chain: the plan keeps the shims that are on in a table by dialect, and the innermost step of a call looks up
the one of its target. So at most one is on a call's way, and none costs anything on a call that needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import MALFORMED, Attempt, Outbound
from instance.chute.dialects.plain_chat import plain_chat
from instance.chute.failures import CallFailed
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.provider_dialects import native_base_url
from instance.chute.upstream import UpstreamUrl
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.operation import StreamReader
    from instance.chute.targets import Target


class ShimSettings(ModuleSettings):
    """What every shim can be told."""

    base_url: str = Field(default="", description="Address of the provider's API; empty: the provider's own setting.")
    on_unsupported: Literal["drop", "reject"] = Field(
        default="drop",
        description="What happens to a field without a counterpart: dropped and named in the trail, or 400.",
    )
    reasoning: Literal["show", "hide"] = Field(
        default="show", description="Whether thinking text is delivered as `reasoning_content`."
    )

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, base_url: str) -> str:
        if base_url:
            UpstreamUrl.parse(base_url)
        return base_url


class Shim(Module):
    """Base of the 13 shims. Override `write`, `read`, `reader`, and where the provider needs it `failed` or `call`."""

    category: ClassVar[str] = "shims"
    group: ClassVar[int] = 12
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    dialect: ClassVar[str]
    """The provider's `type` that it serves: `anthropic`, `gemini` …"""
    wire_dialect: ClassVar[str]
    """The trace's `dialect_out`: `anthropic.messages` …; a call that came in it and that nothing changed goes out as it is."""
    serves: ClassVar[frozenset[str]] = frozenset(("chat",))
    """Kinds of calls that the provider has; another is answered 501 `not_supported`."""

    Settings: ClassVar[type[ModuleSettings]] = ShimSettings  # type: ignore[assignment]
    settings: Any

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        given = self.settings.base_url
        self.base_url = UpstreamUrl.parse(native_base_url(self.dialect, given)) if given else None
        """Where every provider of the dialect is called, but for targets with an address of their own."""

    def takes_as_it_is(self, x: Exchange, target: Target) -> bool:
        """Whether the call can go out in the caller's own dialect; else it must be one that the canonical form can say."""
        return x.operation.dialect == self.wire_dialect

    def write(self, x: Exchange, target: Target) -> Outbound:
        """The canonical request (`x.req`, never changed here) in the provider's dialect. Raises `StockyardError` 400."""
        raise NotImplementedError

    def read(self, x: Exchange, target: Target, headers: dict[bytes, bytes], raw: bytes) -> JSON:
        """A whole answer in canonical form. Raises `ValueError` (or what indexing raises) for what is none of the dialect, and
        `CallFailed` or `StockyardError` for an answer that is a refusal."""
        raise NotImplementedError

    def reader(self, x: Exchange, target: Target, headers: dict[bytes, bytes]) -> StreamReader:
        """For a streamed answer."""
        raise NotImplementedError

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed | StockyardError:
        """An error status of the provider; the failure as it is, or one with the status and code that it stands for."""
        return failure

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        """One attempt: write, send, read. Raises `CallFailed`, `StockyardError`, `UpstreamError`."""
        target = attempt.target
        attempt.base_url = self.base_url
        operation = x.operation
        native = operation.dialect if operation.dialect == self.wire_dialect else ""
        out = self.write_native(x, target) if native else None
        if out is None:
            out = self.write(x, target)
        response = await attempt.send(out)
        if response.status != 200:
            raise self.failed(x, await attempt.refused(response))
        if x.stream:
            return await attempt.streamed(response, self.reader(x, target, response.headers), native=native)
        raw = await attempt.read(response)
        try:
            obj = self.read(x, target, response.headers, raw)
        except (CallFailed, StockyardError):
            raise
        except MALFORMED as error:
            raise attempt.broken(error, response.headers, raw) from error
        return attempt.whole(obj, raw, response.headers, native=native)

    def write_native(self, x: Exchange, target: Target) -> Outbound | None:
        """A request that came in the provider's own dialect, as it came but for the model's name; `None` when a module changed it."""
        return None

    def request(self, x: Exchange) -> JSON:
        """The canonical request without what callers of other dialects put into it and this provider has no use for; its own
        parameters (`<provider>: {…}`) stay."""
        if x.native is None:
            return x.req
        plain = plain_chat(x.req)
        if self.dialect in x.req:
            plain[self.dialect] = x.req[self.dialect]
        return plain

    def dropped(self, x: Exchange, fields: list[str]) -> None:
        """Say in the trail that the dialect was spoken and which fields have no counterpart there; `on_unsupported: reject`
        refuses the first of them."""
        if fields and self.settings.on_unsupported == "reject":
            raise StockyardError(
                "unsupported_parameter",
                f"The provider has nothing like `{fields[0]}`.",
                param=fields[0],
                module=self.name,
                retryable=False,
            )
        x.note("shim", {"dialect": self.dialect, "dropped": fields}, module=self.name, hook="around")


def answer_head(x: Exchange) -> tuple[int, str]:
    """`created` (seconds) and `id` of the canonical answer to a call."""
    return x.started_wall_ns // 10**9, f"chatcmpl-{x.id[3:]}"


def say_upstream_id(x: Exchange, found: Any) -> None:
    """Note the provider's own id where it stands in the answer and not in a header."""
    if isinstance(found, str) and found.isprintable() and x.attempts:
        x.attempts[-1]["upstream_id"] = found[:200]
