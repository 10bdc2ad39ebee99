"""promptguard: keeps personal data from leaving, and notices texts that try to give the model orders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import orjson
import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.call_identity import holder
from instance.chute.embedding.embedder import embedder_where_possible
from instance.chute.exchange import Exchange
from instance.chute.expressions import require_re2
from instance.chute.held_texts import HeldTexts, Hold
from instance.chute.matcher import Matcher
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.safety.first_look import FirstLook, first_look_of
from instance.chute.modules.safety.found import Found, apart, replaced
from instance.chute.modules.safety.injection import TRIGGERS, WIDE_TRIGGERS, Rules
from instance.chute.modules.safety.learned_injection import WINDOW_MAX_CHARS, LearnedInjection
from instance.chute.modules.safety.personal_data import Kind, find_personal, trigger_of
from instance.chute.modules.safety.placeholders import Placeholders, Sessions, opens_placeholder
from instance.chute.modules.safety.seen_text import LearnedLooker
from instance.chute.modules.safety.windowed_hold import WindowedHold
from instance.chute.text import INPUTS, request_texts, rewrite_answer, rewrite_request
from instance.chute.text_memory import TextMemory
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

SCORES = {"low": 8, "medium": 5, "high": 3}
DOUBTFUL = 2.0
"""Learned points from which the rules are asked once more for the same text, to be weighed together."""
OTHER_COUNTS = 0.4
"""Share of the lower of the two scores, of rules and learned, that is added to the higher one."""
TEXT_MAX_CHARS = 400_000
"""What of one text is looked at for personal data."""

_INPUTS = frozenset(INPUTS)
_ROLES = {"developer": "system", "function": "tool"}
"""Roles that count as another one."""

Pattern = Annotated[str, Field(min_length=1, max_length=1000)]
Role = Literal["system", "user", "assistant", "tool"]


class CustomKind(BaseModel):
    """A kind of personal data of the user's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", description="Its name in the trail and in placeholders.")
    re2: Pattern = Field(description="RE2 expression of the whole value.")

    @field_validator("re2")
    @classmethod
    def _compiles(cls, expression: str) -> str:
        return require_re2(expression)


class PromptGuard(Module):
    """Personal data is noted, refused, or replaced by placeholders such as `[EMAIL_1]`, and with `restore` put back in the answer.

    The same value has the same placeholder in a whole call, and in a session of the same key. Placeholders are restored for
    the client only: what is stored keeps them. Injection is scored by weighted rules over each text, also over what it hides
    in an encoding; a text that came from a tool weighs more.
    """

    name: ClassVar[str] = "promptguard"
    category: ClassVar[str] = "safety"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Keeps personal data from leaving, and notices prompt injection"
    rejects: ClassVar[tuple[str, ...]] = ("pii_blocked", "injection_blocked")
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    safety: ClassVar[bool] = True
    tick_s: ClassVar[float] = 60.0
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        kinds: list[Kind] = Field(
            default=["email", "phone", "card", "iban", "ssn"], max_length=20, description="Kinds of personal data."
        )
        mode: Literal["flag", "redact", "restore", "block"] = Field(
            default="redact",
            description="flag notes it, redact puts placeholders in its place, restore also puts the values back into the answer, block refuses the call (pii_blocked).",
        )
        custom: list[CustomKind] = Field(default=[], max_length=100, description="Kinds of your own.")
        injection: Literal["off", "flag", "block"] = Field(
            default="flag", description="What happens with a text that tries to give orders (injection_blocked)."
        )
        learned: bool = Field(
            default=True,
            description="Where the bundled embedder is installed (extra `semantic`), also score new messages by what was learned from examples of injection: it finds what no rule foresees; a call waits some 5 ms for it, more with long tool results. Without the embedder, or the memory for it, the rules judge alone.",
        )
        sensitivity: Literal["low", "medium", "high"] = Field(
            default="medium", description="Score from which a text counts as injection: low 8, medium 5, high 3."
        )
        roles: list[Role] = Field(default=["user", "tool"], description="Whose messages are looked at.")
        scan_output: bool = Field(default=False, description="Look for personal data in answers too.")
        session_ttl_s: int = Field(
            default=3600,
            ge=0,
            le=7 * 86_400,
            description="Seconds without use after which a session's placeholders are forgotten; 0: each call has its own.",
        )
        phone_regions: list[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] = Field(
            default=["US", "GB", "DE", "FR", "ES", "IT", "NL", "IN", "AU", "BR"],
            max_length=250,
            description="Countries (ISO 3166) whose national telephone numbers are known; those with a country code always are.",
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._custom = [(custom.name, re2.compile(custom.re2)) for custom in settings.custom]
        personal = [trigger_of(kind) for kind in settings.kinds] + [custom.re2 for custom in settings.custom]
        self._personal = len(personal)
        self._rules = Rules() if settings.injection != "off" else None
        self._learned: LearnedInjection | None = None
        self._first_look: FirstLook
        self.looker: LearnedLooker | None = None
        self._patterns = (*personal, *(WIDE_TRIGGERS if self._rules is not None else ()))
        self._orders = Matcher([("", TRIGGERS)]) if self._rules is not None else None
        self._least = SCORES[settings.sensitivity]
        self._roles = frozenset(settings.roles)
        self._regions = tuple(settings.phone_regions)
        self._rewrites = settings.mode in ("redact", "restore")
        self._restores, self._scans_output = settings.mode == "restore", settings.scan_output
        self._session_ttl_ns = settings.session_ttl_s * 10**9
        self._found: TextMemory[tuple[Found, ...]] = TextMemory()
        """Where personal data stands in texts of requests."""
        self._scores: TextMemory[tuple[float, list[str]]] = TextMemory()
        self._tool_scores: TextMemory[tuple[float, list[str]]] = TextMemory()
        self._core: Core | None = None
        self.sessions = Sessions()
        if settings.on_error is None and settings.mode == "flag" and settings.injection != "block":
            self.on_error = "open"  # type: ignore[misc]  # what only flags never refuses a call

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        if isinstance(previous, PromptGuard):
            self.sessions = previous.sessions
        learns = self._rules is not None and self.settings.learned
        embedder = await embedder_where_possible(core) if learns else None
        if embedder is not None:  # else the rules judge alone
            learned = self._learned = LearnedInjection(embedder)
            self._first_look = first_look_of(core, embedder)
            least = learned.share_of(min(DOUBTFUL, self._least))
            self.looker = LearnedLooker(learned.classifier, least, lambda x: True, window=WINDOW_MAX_CHARS)

    async def tick(self) -> None:
        if self._core is not None:
            self.sessions.expire(self._core.clock.wall_ns() - self.settings.session_ttl_s * 10**9)

    def hooks(self) -> tuple[str, ...]:
        own = self.settings
        asks = (
            *(("on_request",) if self._patterns else ()),
            *(("prepare",) if self._learned is not None else ()),
        )
        if not self._personal:
            return asks
        if own.mode == "restore" or own.scan_output:
            return (
                *asks,
                "on_response",
                "on_delta",
                *(("on_finish",) if own.scan_output and not self._holds() else ()),
            )
        return asks

    def _holds(self) -> bool:
        return self.settings.scan_output and self.settings.mode != "flag"

    def patterns(self) -> Sequence[str]:
        return self._patterns

    def answer_patterns(self) -> Sequence[str]:
        return self._patterns[: self._personal] if self._scans_output else ()

    # --- requests ---------------------------------------------------------------------------------------------------

    def on_request(self, x: Exchange) -> Answer | None:
        hits = x.hits(self)
        if hits and self._rules is not None and max(hits) >= self._personal and self._may_order(x):
            self._judge(x, self._rules)
        if self._personal:
            kept = self._kept(x) if x.session and self._rewrites else None
            new = bool(hits) and min(hits) < self._personal
            if new or (kept is not None and kept.known_values):
                self._guard(x, kept if kept is not None else Placeholders(), new=new)
        return None

    def _may_order(self, x: Exchange) -> bool:
        """Whether a text of the request can score, by what the shared matcher only guesses."""
        passages = x.state.get("passages")
        texts = request_texts(x.req)
        if passages:
            texts.append(passages)
        return self._orders is not None and bool(self._orders.scan_texts(texts, recur=x.session != ""))

    def _kept(self, x: Exchange) -> Placeholders | None:
        """The placeholders that the call's session has from before."""
        if x.dry or not self._session_ttl_ns or self._core is None:
            return None
        return self.sessions.of(holder(x), x.session, self._core.clock.wall_ns(), self._session_ttl_ns)

    def _judge(self, x: Exchange, rules: Rules) -> None:
        passages = x.state.get("passages")
        worst = (*rules.score(passages, from_tool=True), "passages") if passages else (0.0, [], "")

        def look(text: str, place: str) -> str:
            nonlocal worst
            role = _role(x.req, place)
            if role in self._roles and (passages is None or passages not in text):
                from_tool = role == "tool" and ".tool_calls[" not in place
                memory = self._tool_scores if from_tool else self._scores
                score, names = memory.get(text) or memory.keep(text, rules.score(text, from_tool=from_tool))
                if score > worst[0]:
                    worst = (score, names, place)
            return text

        rewrite_request(x.req, look)
        score, names, place = worst
        if score >= self._least:
            x.state["injection"] = True
            self._refuse(x, score, names, place)

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        """What was learned, over the new messages; what the rules found is noted already."""
        if self._learned is None or x.state.pop("injection", False):
            return None
        texts = self._new_texts(x)
        return self._ask_learned(x, self._learned, texts) if texts else None

    async def _ask_learned(
        self, x: Exchange, learned: LearnedInjection, texts: list[tuple[str, str, str]]
    ) -> Answer | None:
        assert self._core is not None and self._rules is not None and self.looker is not None
        if await self._first_look.finds_nothing(x, self.looker, [text for _, _, text in texts]):
            return None
        rules, least = self._rules, self._least

        def first(points: list[float]) -> tuple[float, list[str], str] | None:
            for (place, role, text), learned_points in zip(texts, points, strict=True):
                score, names = learned_points, ["learned"]
                if score >= DOUBTFUL:
                    by_rules, named = rules.score(text, from_tool=role == "tool")
                    score, names = with_rules(score, by_rules), sorted((*named, "learned"))
                if score >= least:
                    return round(score, 1), names, place
            return None

        began = self._core.clock.mono_ns()
        found = await learned.run([text for _, _, text in texts], first)
        x.waited_ns += self._core.clock.mono_ns() - began
        if found is not None:
            self._refuse(x, *found)
        return None

    def _new_texts(self, x: Exchange) -> list[tuple[str, str, str]]:
        """Place, role and text of what is looked at behind the last answer, and of the passages that were put in."""
        req = x.req
        messages = req.get("messages")
        passages = x.state.get("passages")
        if type(messages) is list:
            if passages is None and _INPUTS.isdisjoint(req):
                plain = self._plain_texts(messages)
                if plain is not None:
                    return plain
            first = len(messages)
            while first and not _is_answer(messages[first - 1]):
                first -= 1
            req = {**req, "messages": [*[None] * first, *messages[first:]]}
        found = [("passages", "tool", passages)] if passages else []

        def look(text: str, place: str) -> str:
            role = _role(req, place)
            if role in self._roles and text and (passages is None or passages not in text):
                found.append((place, role, text))
            return text

        rewrite_request(req, look)
        return found

    def _plain_texts(self, messages: list[Any]) -> list[tuple[str, str, str]] | None:
        """The same of messages that are a role and a text each; `None` when one is not."""
        found: list[tuple[str, str, str]] = []
        place = len(messages)
        for message in reversed(messages):
            place -= 1
            if type(message) is not dict:
                return None
            role = message.get("role")
            if role == "assistant":
                break
            text = message.get("content")
            if len(message) != 2 or type(role) is not str or type(text) is not str:
                return None
            role = _ROLES.get(role, role)
            if text and role in self._roles:
                found.append((f"messages[{place}].content", role, text))
        if len(found) > 1:
            found.reverse()
        return found

    def _refuse(self, x: Exchange, score: float, names: list[str], place: str) -> None:
        """Note an injection, and refuse the call where that is to be."""
        x.note("injection", {"score": score, "rules": names, "place": place, "action": self.settings.injection})
        if self.settings.injection == "block":
            raise StockyardError(
                "injection_blocked",
                f"A text of the request tries to give the model orders ({', '.join(names)}).",
                param=place,
                details={"score": score, "rules": names},
                retryable=False,
            )

    def _guard(self, x: Exchange, placeholders: Placeholders, *, new: bool) -> None:
        """`new`: there may be personal data of which no value is known yet."""
        counts: Counter[str] = Counter()
        if self._rewrites:
            placeholders.reserve(request_texts(x.req))

        def substitute(kind: str, value: str) -> str:
            counts[kind] += 1
            return placeholders.of(kind, value) if self._rewrites else value

        def look(text: str, place: str) -> str:
            if _role(x.req, place) not in self._roles:
                return text
            found = self._found.get(text)
            if found is None:
                found = self._found.keep(text, tuple(self.find(text)))
            return replaced(text, found, substitute) if found else text

        guarded = rewrite_request(x.req, look) if new else x.req
        hide = placeholders.hider() if self._rewrites else None
        if hide is not None:
            # A value that is known is known wherever it stands: in the history's answers too, where it was put back.
            def again(text: str, place: str) -> str:
                text, put = hide(text)
                counts.update(each[1 : each.rindex("_")].lower() for each in put)
                return text

            guarded = rewrite_request(guarded, again)
            x.state["promptguard"] = placeholders
            _store_hidden(x, hide)
        self._note(x, counts, "in")
        if not counts:
            return
        if self.settings.mode == "block":
            raise _blocked(counts, "request")
        if hide is not None:
            x.req = guarded
            x.change()
            # Where secretscan rewrote it for storage already, what stands there of ours goes too.
            stored = (
                guarded
                if x.stored_request is None
                else rewrite_request(orjson.loads(x.stored_request), lambda text, place: hide(text)[0])
            )
            x.stored_request = orjson.dumps(stored)

    def find(self, text: str) -> list[Found]:
        """The personal data of a text, the user's own kinds first."""
        text = text[:TEXT_MAX_CHARS]
        found = find_personal(text, self.settings.kinds, self._regions)
        if self._custom:
            own = [
                Found(name, *match.span())
                for name, expression in self._custom
                for match in expression.finditer(text)
                if match.end() > match.start()
            ]
            taken = apart(own)
            found = apart(
                [*taken, *(each for each in found if not any(each.start < o.end and o.start < each.end for o in taken))]
            )
        return found

    # --- answers ----------------------------------------------------------------------------------------------------

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        placeholders: Placeholders | None = x.state.get("promptguard")
        if obj is None or (placeholders is None and not self._scans_output):
            return
        checked = self._scanned(x, obj, placeholders) if self._scans_output else obj
        shown = checked
        if self._restores and placeholders is not None:
            held = placeholders
            shown = rewrite_answer(checked, lambda text, place: held.restore(text, in_json=place.endswith("arguments")))
        if shown is not obj:
            x.stored_response = orjson.dumps(checked)
            answer.obj = shown
            answer.changed = True

    def _scanned(self, x: Exchange, obj: JSON, placeholders: Placeholders | None) -> JSON:
        hits = x.answer_hits(self, obj)
        if not hits or min(hits) >= self._personal:
            return obj
        counts: Counter[str] = Counter()
        name = _namer(placeholders)

        def substitute(kind: str, value: str) -> str:
            counts[kind] += 1
            return name(kind, value) if self._rewrites else value

        checked = rewrite_answer(obj, lambda text, place: replaced(text, self.find(text), substitute))
        self._note(x, counts, "out")
        if counts and self.settings.mode == "block":
            raise _blocked(counts, "answer")
        return checked

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        texts: HeldTexts | None = x.state.get("promptguard_stream")
        if texts is None:
            placeholders: Placeholders | None = x.state.get("promptguard")
            if not self._holds() and (self.settings.mode != "restore" or placeholders is None):
                x.skipped = (x.skipped or set()) | {self.name}
                return
            texts = x.state["promptguard_stream"] = HeldTexts(self._hold_of(x, placeholders), x, self.name)
        texts.take(delta)

    def _hold_of(self, x: Exchange, placeholders: Placeholders | None) -> Callable[[str], Hold]:
        name = _namer(placeholders)

        def substitute(kind: str, value: str) -> str:
            self._note(x, Counter({kind: 1}), "out")
            if self.settings.mode == "block":
                raise _blocked(Counter({kind: 1}), "answer")
            x.state["redacted"] = True
            return name(kind, value)

        restores = self.settings.mode == "restore"

        def hold(place: str) -> Hold:
            scan = WindowedHold(self.find, substitute) if self._holds() else None
            if scan is not None and (placeholders is None or not restores):
                return scan
            return _Text(scan, placeholders if restores else None, place.endswith("arguments"))

        return hold

    def on_finish(self, x: Exchange) -> None:
        """Note what a stream held that was only to be flagged."""
        if x.stream and x.text_out:
            self._note(x, Counter(each.kind for each in self.find("".join(x.text_out))), "out")

    def _note(self, x: Exchange, counts: Counter[str], direction: str) -> None:
        for kind, count in sorted(counts.items()):
            x.note("pii", {"kind": kind, "count": count, "mode": self.settings.mode, "direction": direction})


class _Text:
    """One text of a streamed answer: its own values taken out, then the placeholders of the request put back."""

    __slots__ = ("_held", "_in_json", "_placeholders", "_scan")

    def __init__(self, scan: WindowedHold | None, placeholders: Placeholders | None, in_json: bool) -> None:
        self._scan = scan
        self._placeholders = placeholders
        self._in_json = in_json
        self._held = ""

    def feed(self, text: str, last: bool) -> str:
        if self._scan is not None:
            text = self._scan.feed(text, last)
        if self._placeholders is None or (not text and not last):
            return text
        if not self._held and "[" not in text:
            return text
        text = self._held + text
        cut = len(text) if last else opens_placeholder(text)
        self._held = text[cut:]
        return self._placeholders.restore(text[:cut], in_json=self._in_json)


def with_rules(learned: float, by_rules: float) -> float:
    """The score of a text by both: the higher one, and a part of the other, for two signs are more than one."""
    return max(learned, by_rules) + OTHER_COUNTS * min(learned, by_rules)


def _is_answer(message: Any) -> bool:
    return type(message) is dict and message.get("role") == "assistant"


def _role(req: JSON, place: str) -> str:
    """Whose text stands at a place of the request."""
    if not place.startswith("messages["):
        return "user"
    if ".tool_calls[" in place or ".function_call" in place:
        return "tool"
    message: Any = req["messages"][int(place[9 : place.index("]")])]
    role = message.get("role")
    return _ROLES.get(role, role) if isinstance(role, str) else "user"


def _store_hidden(x: Exchange, hide: Callable[[str], tuple[str, list[str]]]) -> None:
    """Have the core store texts of this call without the values, also those of a stream that were put back."""
    before: Callable[[str], str] | None = x.state.get("redact")

    def redact(text: str) -> str:
        hidden = hide(text)[0]
        return before(hidden) if before is not None else hidden

    x.state["redact"] = redact


def _namer(held: Placeholders | None) -> Callable[[str, str], str]:
    """Placeholders for values of an answer: those of the request where they are the same, else others that are not put back."""
    own = held.apart() if held is not None else Placeholders()
    return lambda kind, value: (held.known(kind, value) if held is not None else "") or own.of(kind, value)


def _blocked(counts: Counter[str], where: str) -> StockyardError:
    named = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return StockyardError(
        "pii_blocked",
        f"The {where} holds personal data ({named}).",
        details=dict(sorted(counts.items())),
        retryable=False,
    )
