"""maskmode: shows consistent fakes in place of the identities that stand in answers."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import orjson
import re2
from pydantic import Field, SecretStr, field_validator

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.expressions import require_re2
from instance.chute.held_texts import HeldTexts
from instance.chute.matcher import Matcher
from instance.chute.module import Module, ModuleSettings
from instance.chute.module_secrets import SecretText
from instance.chute.modules.core.fake_identities import Fakes, is_fake
from instance.chute.modules.safety.found import Found, apart, replaced
from instance.chute.modules.safety.personal_data import find_occurring, trigger_of
from instance.chute.modules.safety.windowed_hold import WindowedHold
from instance.chute.quick_look import wider
from instance.chute.text import answer_text, request_texts, rewrite_answer, rewrite_request

if TYPE_CHECKING:
    import sqlite3

    from instance.core.core import Core

MaskKind = Literal["name", "email", "phone", "address", "card", "iban", "ssn", "ip"]
Words = Annotated[str, Field(min_length=2, max_length=100)]
Pattern = Annotated[str, Field(min_length=1, max_length=1000)]

FIELD_NAMES_MAX = 50
"""Names taken from the fields of one request."""
_FIELD = re.compile(r'"(?:full_?|customer_?|user_?|contact_?|display_?)?name"\s*:\s*"([^"\\\n]{3,60})"', re.IGNORECASE)
_AMOUNT = re.compile(
    r"(?:(?:[$€£¥]|\b(?:USD|EUR|GBP|CHF)) ?\d[\d.,\u00a0]{0,30}\d|[$€£¥] ?\d|\b\d[\d.,\u00a0]{0,30}\d? ?(?:[$€£¥]|(?:USD|EUR|GBP|CHF|dollars|euros|pounds)\b))"
)
_SEALED_FOR = b"maskmode"
_NOTHING: dict[str, str] = {}


class MaskMode(Module):
    """For demonstrations and shared screens. The same original always has the same fake, in its own shape, under one secret.

    `answers` masks what people read in answers; tool calls pass, as tools work on the real thing. `both` masks prompts too and
    puts the originals back into tool calls. `console` leaves calls alone: `mask` is for the views of users in mask mode.
    """

    name: ClassVar[str] = "maskmode"
    category: ClassVar[str] = "core"
    group: ClassVar[int] = 3
    summary: ClassVar[str] = "Shows consistent fakes in place of identities"
    migrations: ClassVar[Path | None] = Path(__file__).with_name("maskmode_migrations")
    secret_settings: ClassVar[frozenset[str]] = frozenset(("secret",))

    class Settings(ModuleSettings):
        scope: Literal["answers", "both", "console"] = Field(
            default="answers",
            description="What is masked: answers, prompts as well (both), or only what the console shows.",
        )
        kinds: list[MaskKind] = Field(
            default=["name", "email", "phone", "address", "card"], max_length=20, description="Kinds of identities."
        )
        names: list[Words] = Field(default=[], max_length=1000, description="Names of people that are masked too.")
        companies: list[Words] = Field(default=[], max_length=1000, description="Names of companies that are masked.")
        amounts: bool = Field(default=False, description="Scale amounts of money by a secret factor.")
        secret: SecretText = Field(
            default=SecretStr(""),
            description="What the fakes are chosen by; empty: a random one that is made once and kept.",
        )
        exempt: list[Pattern] = Field(
            default=[], max_length=100, description="RE2 expressions of values that stay as they are."
        )

        @field_validator("exempt")
        @classmethod
        def _compile(cls, expressions: list[str]) -> list[str]:
            return [require_re2(expression) for expression in expressions]

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._fakes = Fakes(settings.secret.get_secret_value().encode() or os.urandom(32))
        self._exempt = [re2.compile(expression) for expression in settings.exempt]
        self._lists = [
            (kind, _words(words))
            for kind, words in (("name", settings.names), ("company", settings.companies))
            if words
        ]
        amounts = [("amount", _AMOUNT)] if settings.amounts else []
        self._own = [*self._lists, *amounts]
        self._kinds = tuple(settings.kinds)
        self._masks_names = "name" in self._kinds

    async def start(self, core: Core, previous: Module | None) -> None:
        if not self.settings.secret.get_secret_value():
            self._fakes = Fakes(await _kept_secret(core))

    def hooks(self) -> tuple[str, ...]:
        own = self.settings
        if own.scope == "console" or not (own.kinds or own.names or own.companies or own.amounts):
            return ()
        return ("on_request", "on_response", "on_delta") if own.scope == "both" else ("on_response", "on_delta")

    def patterns(self) -> Sequence[str]:
        return [*self._expressions(), wider(_FIELD)] if self.hooks() else ()

    def _expressions(self) -> list[str]:
        """Of each kind, then of each list and of amounts, what occurs wherever there is something of it."""
        return [*map(trigger_of, self._kinds), *(wider(expression) for _, expression in self._own)]

    @cached_property
    def _look(self) -> Callable[[str], frozenset[int]]:
        """Which of the expressions occur in a text."""
        return Matcher([(self.name, self._expressions())]).scan

    def mask(self, text: str) -> str:
        """The text with every identity replaced by its fake."""
        return replaced(text, self.find(text), self._fakes.of)

    def find(self, text: str, more: re.Pattern[str] | None = None, hits: frozenset[int] | None = None) -> list[Found]:
        """What is to be masked in a text; `more` finds further names. `hits`: which expressions may occur in it, where that is known."""
        if hits is None:
            hits = self._look(text)
        if not hits and more is None:
            return []
        kinds = self._kinds
        found = find_occurring(text, [kind for place, kind in enumerate(kinds) if place in hits])
        listed = [each for place, each in enumerate(self._own, len(kinds)) if place in hits]
        if more is not None:
            listed.append(("name", more))
        own = [Found(kind, *match.span()) for kind, words in listed for match in words.finditer(text)]
        if own:
            own = apart(own)
            found = apart(
                [*own, *(each for each in found if not any(each.start < o.end and o.start < each.end for o in own))]
            )
        return [each for each in found if not self._stays(each, text[each.start : each.end])]

    def _stays(self, found: Found, value: str) -> bool:
        return is_fake(found.kind, value) or any(expression.fullmatch(value) for expression in self._exempt)

    # --- calls ------------------------------------------------------------------------------------------------------

    def on_request(self, x: Exchange) -> Answer | None:
        if not x.hits(self):
            x.state["maskmode_names"] = None
            return None
        counts: Counter[str] = Counter()
        originals: dict[str, str] = x.state.setdefault("maskmode_originals", {})
        more = self._field_names(x)

        def substitute(kind: str, value: str) -> str:
            counts[kind] += 1
            fake = self._fakes.of(kind, value)
            originals[fake] = value
            return fake

        masked = rewrite_request(x.req, lambda text, place: replaced(text, self.find(text, more), substitute))
        if masked is not x.req:
            x.req = masked
            x.change()
            x.stored_request = orjson.dumps(masked)
        self._note(x, counts)
        return None

    def _field_names(self, x: Exchange) -> re.Pattern[str] | None:
        """Names that stand in fields of that name in the request's own data."""
        if not self._masks_names:
            return None
        state = x.state
        if "maskmode_names" not in state:
            found: list[str] = []
            for text in request_texts(x.req):
                if '"' in text and "name" in text:
                    found += _FIELD.findall(text)
            names = sorted({name for name in found if name[0].isupper() and not is_fake("name", name)}) if found else ()
            state["maskmode_names"] = _words(names[:FIELD_NAMES_MAX]) if names else None
        more: re.Pattern[str] | None = state["maskmode_names"]
        return more

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        if obj is None:
            return
        more = self._field_names(x)
        originals: dict[str, str] = x.state.get("maskmode_originals") or _NOTHING
        shown = answer_text(obj)
        hits = x.answer_hits(self, obj)
        if not hits and more is None and not originals:
            return
        counts: Counter[str] = Counter()

        def look(text: str, place: str) -> str:
            if place.endswith("arguments"):
                return _unmasked(text, originals)
            return replaced(text, self.find(text, more, hits if text == shown else None), self._counted(counts))

        masked = rewrite_answer(obj, look)
        if masked is not obj:
            answer.obj = masked
            answer.changed = True
        self._note(x, counts)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        texts: HeldTexts | None = x.state.get("maskmode")
        if texts is None:
            counts: Counter[str] = Counter()
            more = self._field_names(x)
            originals: dict[str, str] = x.state.get("maskmode_originals") or {}

            def hold(place: str) -> WindowedHold | _Arguments | None:
                if place.endswith("arguments"):
                    return _Arguments(originals) if originals else None
                return WindowedHold(lambda text: self.find(text, more), self._counted(counts))

            texts = x.state["maskmode"] = HeldTexts(hold, x, self.name)
            x.state["maskmode_counts"] = counts
        texts.take(delta)
        if delta.final:
            self._note(x, x.state["maskmode_counts"])

    def _counted(self, counts: Counter[str]) -> Callable[[str, str], str]:
        def substitute(kind: str, value: str) -> str:
            counts[kind] += 1
            return self._fakes.of(kind, value)

        return substitute

    def _note(self, x: Exchange, counts: Counter[str]) -> None:
        for kind, count in sorted(counts.items()):
            x.note("mask", {"kind": kind, "count": count})


class _Arguments:
    """A tool call's arguments, held until they are whole: the originals go back into them."""

    def __init__(self, originals: dict[str, str]) -> None:
        self._originals = originals
        self._held: list[str] = []

    def feed(self, text: str, last: bool) -> str:
        self._held.append(text)
        return _unmasked("".join(self._held), self._originals) if last else ""


def _unmasked(text: str, originals: dict[str, str]) -> str:
    for fake in sorted(originals, key=len, reverse=True):
        if fake in text:
            text = text.replace(fake, orjson.dumps(originals[fake])[1:-1].decode())
    return text


def _words(words: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)", re.IGNORECASE)


async def _kept_secret(core: Core) -> bytes:
    """The instance's own secret, made when there is none."""

    def write(connection: sqlite3.Connection) -> bytes:
        row: Any = connection.execute("SELECT sealed FROM mask_secret WHERE id = 1").fetchone()
        if row is not None:
            return bytes(row[0])
        sealed = core.secrets.seal(os.urandom(32), _SEALED_FOR)
        connection.execute("INSERT INTO mask_secret (id, sealed) VALUES (1, ?)", (sealed,))
        return sealed

    return core.secrets.open(await core.writer.write(write), _SEALED_FOR)
