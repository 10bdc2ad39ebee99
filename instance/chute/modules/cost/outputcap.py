"""outputcap: limits how long an answer can get, before the call by tokens and after it by characters."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar

from pydantic import Field

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.by_model import ByModel
from instance.chute.exchange import Exchange
from instance.chute.module import TEXT_KINDS, Module, ModuleSettings
from instance.chute.modules.cost.text_cut import CutAt, CutStream, cut

TOKENS_MAX = 10_000_000
NEAR_CHARS = 400
"""So near the limit a stream's sentence is held until it is known to fit."""
CHOICES_MAX = 128
FIELDS = ("max_completion_tokens", "max_tokens")


class OutputCap(Module):
    """Asks the provider for no more tokens than allowed, and cuts longer texts at the end of a sentence.

    The limit of tokens is never raised. Tool calls and answers that were asked for as JSON are cut by tokens only. A stream
    that reaches the limit ends there, and so does the provider's work; where tools are offered only its text does, as calls of
    them may follow.
    """

    name: ClassVar[str] = "outputcap"
    category: ClassVar[str] = "cost"
    group: ClassVar[int] = 3
    summary: ClassVar[str] = "Limits the length of answers, cut where a sentence ends"
    kinds: ClassVar[frozenset[str]] = TEXT_KINDS
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        max_tokens: int = Field(
            default=1024, ge=0, le=TOKENS_MAX, description="Most tokens of an answer; 0: as the caller asks."
        )
        max_chars: int = Field(default=0, ge=0, le=TOKENS_MAX, description="Most characters of an answer; 0: no limit.")
        cut_at: CutAt = Field(
            default="sentence",
            description="Where to cut: the last sentence or word in the final half of what is allowed, or hard.",
        )
        marker: str = Field(default="…", max_length=100, description="What stands behind a cut text.")
        per_model: dict[str, Annotated[int, Field(ge=0, le=TOKENS_MAX)]] = Field(
            default={}, max_length=200, description="Glob of the model -> most tokens, in place of max_tokens."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._limits = ByModel(self._limit) if settings.per_model else None
        self._max_tokens = settings.max_tokens
        self._max_chars = settings.max_chars
        self._near = min(NEAR_CHARS, settings.max_chars)

    def hooks(self) -> tuple[str, ...]:
        own = self.settings
        asks = ("on_request",) if own.max_tokens or any(own.per_model.values()) else ()
        return (*asks, "on_response", "on_delta") if own.max_chars else asks

    def on_request(self, x: Exchange) -> None:
        limit = self._limits.of(x) if self._limits is not None else self._max_tokens
        if not limit:
            return
        req = x.req
        asked = req.get("max_tokens")
        if type(asked) is int and asked <= limit and "max_completion_tokens" not in req:
            return  # as most calls that say anything
        given = False
        over = []
        for name in FIELDS:
            asked = req.get(name)
            if type(asked) is int:
                given = True
                if asked > limit:
                    over.append(name)
        if given and not over:
            return
        name = over[0] if over else "max_tokens"
        x.note("cap", {"field": name, "from": req[name] if over else None, "to": limit})
        x.req = {**req, **dict.fromkeys(over or [name], limit)}
        x.change()

    def _limit(self, names: list[str]) -> int:
        """The most tokens of a model's answer; 0: no limit."""
        for glob, limit in self.settings.per_model.items():
            if any(fnmatchcase(name, glob) for name in names):
                return limit
        return self._max_tokens

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        if obj is None or ("response_format" in x.req and _wants_json(x.req)) or self._all_fit(obj):
            return
        choices = [self._cut_choice(x, choice) for choice in obj.get("choices") or ()]
        if any(new is not old for new, old in zip(choices, obj.get("choices") or (), strict=True)):
            answer.obj = {**obj, "choices": choices}
            answer.changed = True

    def _all_fit(self, obj: JSON) -> bool:
        """Whether one look says that no text is over the limit."""
        for choice in obj.get("choices") or ():
            message = choice.get("message")
            text = message.get("content") if type(message) is dict else choice.get("text")
            if type(text) is str and len(text) > self._max_chars:
                return False
        return True

    def _cut_choice(self, x: Exchange, choice: JSON) -> JSON:
        message = choice.get("message")
        holder, field = (message, "content") if type(message) is dict else (choice, "text")
        text: Any = holder.get(field)
        if type(text) is not str or len(text) <= self._max_chars:
            return choice
        kept = cut(text, self._max_chars, self.settings.cut_at, self.settings.marker)
        self._note_cut(x, len(text) - len(kept))
        finish = {"finish_reason": "length"} if not (holder.get("tool_calls") or holder.get("function_call")) else {}
        return (
            {**choice, "message": {**holder, field: kept}, **finish}
            if holder is message
            else {**choice, field: kept, **finish}
        )

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        cuts: dict[int, CutStream] | None = x.state.get("outputcap")
        if cuts is None:
            if _wants_json(x.req):
                x.skipped = (x.skipped or set()) | {self.name}
                return
            cuts = x.state["outputcap"] = {}
        for choice in delta.obj["choices"]:  # type: ignore[index]
            self._feed(x, delta, choice, cuts)
        first = cuts.get(0)
        if first is not None and (x.feeds is None or self.name not in x.feeds):
            x.take_texts(self.name, first.passed)
        if delta.final or _offers_tools(x.req):
            return
        ended = sum([stream.ended for stream in cuts.values()])
        if ended and ended >= max(1, x.req.get("n") or 1):
            delta.end("length")

    def _feed(self, x: Exchange, delta: Delta, choice: JSON, cuts: dict[int, CutStream]) -> None:
        index = choice.get("index", 0)
        stream = cuts.get(index)
        if stream is None:
            if len(cuts) >= CHOICES_MAX:
                return
            own = self.settings
            stream = cuts[index] = CutStream(self._max_chars, own.cut_at, own.marker, self._near)
        part = choice.get("delta")
        holder, field = (choice, "text") if type(choice.get("text")) is str else (part, "content")
        last = delta.final or choice.get("finish_reason") is not None
        text = holder.get(field) if type(holder) is dict else None
        text = text if type(text) is str else ""
        if not text and not last:
            return
        had_ended = stream.ended
        sent = stream.feed(text, last)
        if sent != text:
            if type(holder) is not dict:
                holder = choice["delta"] = {}
            holder[field] = sent
            delta.changed = True
        if stream.ended and not had_ended:
            self._note_cut(x, 0)
        if not stream.ended:
            return
        if _offers_tools(x.req):
            if choice.get("finish_reason") == "stop":
                choice["finish_reason"] = "length"
                delta.changed = True
        elif not had_ended:
            choice["finish_reason"] = "length"
            delta.changed = True
        elif choice.get("finish_reason") is not None:
            choice["finish_reason"] = None  # it was said when the text was cut
            delta.changed = True

    def _note_cut(self, x: Exchange, chars: int) -> None:
        x.note("cut", {"chars": chars} if chars else {"at": self._max_chars})
        x.tags = {**x.tags, "cut": "true"}


def _offers_tools(req: JSON) -> bool:
    return bool(req.get("tools") or req.get("functions"))


def _wants_json(req: JSON) -> bool:
    """Whether the answer was asked for as JSON, which a cut would break."""
    form = req.get("response_format")
    return type(form) is dict and form.get("type") in ("json_object", "json_schema")
