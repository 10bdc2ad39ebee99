"""jsonrepair: mends answers and tool calls that were asked to be JSON and are not quite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.validate.broken_json import Mended, mended, parses
from instance.chute.modules.validate.read_texts import ReadTexts
from instance.chute.stream_gate import gated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

FORMS = ("json_object", "json_schema")
TOOL_PLACE = ".tool_calls["
HEADER = (b"x-stockyard-json", b"repaired")


class JsonRepair(Module):
    """What parses is not touched, byte for byte. What does not is replaced by the JSON that it means, if that can be told.

    Contents are looked at where the caller asked for JSON (`response_format`) or the model is bound by `always_for`, and the
    arguments of tool calls. Streams are only watched, unless `stream` says that they may be held.
    """

    name: ClassVar[str] = "jsonrepair"
    category: ClassVar[str] = "validate"
    group: ClassVar[int] = 10
    summary: ClassVar[str] = "Mends broken JSON in answers and tool calls"
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        tool_args: bool = Field(default=True, description="Mend the arguments of tool calls too.")
        always_for: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
            default=[], max_length=100, description="Globs of models whose answers are always JSON."
        )
        repair_cut: bool = Field(default=False, description="Mend answers that were cut for their length too.")
        min_keep_pct: int = Field(
            default=90, ge=0, le=100, description="Share of letters and digits that must be left, else nothing is done."
        )
        stream: Literal["off", "buffer"] = Field(
            default="off",
            description="Streams: off notes what does not parse, buffer holds them and sends mended ones.",
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._mends_tools = settings.tool_args
        self._always_for = settings.always_for

    def passes(self, x: Exchange) -> bool:
        req = x.req
        if "response_format" not in req and not self._always_for:
            return not self._mends_tools or ("tools" not in req and "functions" not in req)
        tools = self._mends_tools and ("tools" in req or "functions" in req)
        return not tools and not self._wants_json(x)

    def _wants_json(self, x: Exchange) -> bool:
        form = x.req.get("response_format")
        if type(form) is dict and form.get("type") in FORMS:
            return True
        globs = self._always_for
        return bool(globs) and any(fnmatchcase(x.model_requested, glob) for glob in globs)

    async def around(self, x: Exchange, call: Call) -> Answer:
        answer = await call(x)
        if answer.events is not None:
            if self.settings.stream == "buffer":
                finishes: dict[str, str] = {}
                answer.events = _told(answer.events, finishes)
                return gated(answer, lambda place: self._held(x, place, finishes))
            if self._wants_json(x):
                x.state["jsonrepair"] = ReadTexts(x, self.name)
            return answer
        if answer.obj is not None:
            self._mend_whole(x, answer, answer.obj)
        return answer

    def _mend_whole(self, x: Exchange, answer: Answer, obj: JSON) -> None:
        wants = self._wants_json(x)
        choices = [self._choice(x, choice, wants) for choice in obj.get("choices") or ()]
        if any(new is not old for new, old in zip(choices, obj.get("choices") or (), strict=True)):
            answer.obj = {**obj, "choices": choices}
            answer.changed = True
            x.response_headers.append(HEADER)

    def _choice(self, x: Exchange, choice: JSON, wants: bool) -> JSON:
        message = choice.get("message")
        if type(message) is not dict or (choice.get("finish_reason") == "length" and not self.settings.repair_cut):
            return choice
        changed: JSON = {}
        content = message.get("content")
        if wants and type(content) is str and content.strip() and not message.get("tool_calls"):
            text = self._text(x, "content", content)
            if text != content:
                changed["content"] = text
        calls = message.get("tool_calls")
        if self.settings.tool_args and type(calls) is list:
            new_calls = [self._call(x, call) for call in calls]
            if any(new is not old for new, old in zip(new_calls, calls, strict=True)):
                changed["tool_calls"] = new_calls
        old = {"function": message.get("function_call")}
        new = self._call(x, old) if self.settings.tool_args else old
        if new is not old:
            changed["function_call"] = new["function"]
        return {**choice, "message": {**message, **changed}} if changed else choice

    def _call(self, x: Exchange, call: Any) -> Any:
        function = call.get("function") if type(call) is dict else None
        arguments = function.get("arguments") if type(function) is dict else None
        if type(function) is not dict or type(arguments) is not str or not arguments.strip():
            return call
        text = self._text(x, "arguments", arguments)
        return call if text == arguments else {**call, "function": {**function, "arguments": text}}

    def _text(self, x: Exchange, what: str, text: str) -> str:
        """The text, mended if it has to be and can be; said in the trail."""
        if parses(text):
            return text
        found = mended(text, self.settings.min_keep_pct)
        self._note(x, what, found)
        return found.text or text

    def _note(self, x: Exchange, what: str, found: Mended) -> None:
        if found.text:
            x.note("repaired", {"what": what, "fixes": list(found.fixes)}, module=self.name)
        else:
            x.note("unrepairable", {"what": what, "position": found.position, "why": found.why}, module=self.name)

    def _held(self, x: Exchange, place: str, finishes: dict[str, str]) -> _Held | None:
        if place.endswith(".content"):
            return _Held(self, x, "content", place, finishes) if self._wants_json(x) else None
        if self.settings.tool_args and place.endswith(".arguments"):
            return _Held(self, x, "arguments", place, finishes)
        return None

    def mend(self, x: Exchange, what: str, text: str, finish_reason: str) -> str:
        """A whole text of a stream that was held."""
        if not text.strip() or (finish_reason == "length" and not self.settings.repair_cut):
            return text
        return self._text(x, what, text)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        """At the end of a stream that was not held: say what does not parse."""
        texts: ReadTexts | None = x.state.get("jsonrepair")
        if texts is None:
            x.skipped = (x.skipped or set()) | {self.name}
            return
        texts.take(delta)
        if not delta.final or not texts.is_whole:
            return
        for text in texts.contents():
            if text.strip() and not parses(text):
                self._note(x, "content", Mended(position=mended(text, 100).position, why="streamed"))


class _Held:
    """One text of a stream, kept until it is whole."""

    __slots__ = ("_choice", "_finishes", "_module", "_pieces", "_what", "_x")

    def __init__(self, module: JsonRepair, x: Exchange, what: str, place: str, finishes: dict[str, str]) -> None:
        self._module = module
        self._x = x
        self._what = what
        self._choice = place.partition(".")[0]
        self._finishes = finishes
        self._pieces: list[str] = []

    async def feed(self, text: str, last: bool) -> str:
        self._pieces.append(text)
        if not last:
            return ""
        whole, self._pieces = "".join(self._pieces), []
        return self._module.mend(self._x, self._what, whole, self._finishes.get(self._choice, ""))


async def _told(events: AsyncIterator[list[Delta]], finishes: dict[str, str]) -> AsyncIterator[list[Delta]]:
    """The same events; how each choice finishes is known before its last event passes."""
    async with aclosing(cast("AsyncGenerator[list[Delta], None]", events)):
        async for batch in events:
            for delta in batch:
                for choice in (delta.obj or {}).get("choices") or ():
                    if choice.get("finish_reason") is not None:
                        finishes[f"choices[{choice.get('index', 0)}]"] = choice["finish_reason"]
            yield batch
