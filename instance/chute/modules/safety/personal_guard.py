"""Personal data of a call: found, and noted, refused or replaced by placeholders on its way out and in the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.exchange import Exchange
from instance.chute.held_texts import Hold
from instance.chute.modules.safety.found import Found, apart, replaced
from instance.chute.modules.safety.personal_data import Kind, find_personal
from instance.chute.modules.safety.placeholders import Placeholders
from instance.chute.modules.safety.restored_text import RestoredText
from instance.chute.modules.safety.texts_by_role import role_at
from instance.chute.modules.safety.windowed_hold import WindowedHold
from instance.chute.text import request_texts, rewrite_answer, rewrite_request
from instance.chute.text_memory import TextMemory
from instance.core.errors import StockyardError

TEXT_MAX_CHARS = 400_000
"""What of one text is looked at for personal data."""


class PersonalGuard:
    """Looks for some kinds of personal data, those of the user's own (name and RE2 expression) first."""

    def __init__(
        self,
        kinds: Sequence[Kind],
        custom: Sequence[tuple[str, Any]],
        regions: tuple[str, ...],
        roles: Collection[str],
        mode: str,
    ) -> None:
        self._kinds = kinds
        self._custom = custom
        self._regions = regions
        self._roles = roles
        self._mode = mode
        self._rewrites = mode in ("redact", "restore")
        self._found: TextMemory[tuple[Found, ...]] = TextMemory()
        """Where personal data stands in texts of requests."""

    def find(self, text: str) -> list[Found]:
        """The personal data of a text, the user's own kinds first."""
        text = text[:TEXT_MAX_CHARS]
        found = find_personal(text, self._kinds, self._regions)
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

    def read_ahead(self, x: Exchange) -> None:
        """Find out where personal data stands in the request's texts."""

        def look(text: str, place: str) -> str:
            self._in_request(x, text, place)
            return text

        rewrite_request(x.req, look)

    def _in_request(self, x: Exchange, text: str, place: str) -> tuple[Found, ...]:
        """The personal data of a request's text, where its role is looked at."""
        if role_at(x.req, place) not in self._roles:
            return ()
        found = self._found.get(text)
        return self._found.keep(text, tuple(self.find(text))) if found is None else found

    def guard(self, x: Exchange, placeholders: Placeholders, *, new: bool) -> None:
        """Guard the request. `new`: there may be personal data of which no value is known yet. Raises `pii_blocked`."""
        counts: Counter[str] = Counter()
        if self._rewrites:
            placeholders.reserve(request_texts(x.req))

        def substitute(kind: str, value: str) -> str:
            counts[kind] += 1
            return placeholders.of(kind, value) if self._rewrites else value

        def look(text: str, place: str) -> str:
            found = self._in_request(x, text, place)
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
        self.note(x, counts, "in")
        if not counts:
            return
        if self._mode == "block":
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

    def checked(self, x: Exchange, obj: JSON, placeholders: Placeholders | None) -> JSON:
        """A whole answer without its own values. Raises `pii_blocked`."""
        counts: Counter[str] = Counter()
        name = _namer(placeholders)

        def substitute(kind: str, value: str) -> str:
            counts[kind] += 1
            return name(kind, value) if self._rewrites else value

        checked = rewrite_answer(obj, lambda text, place: replaced(text, self.find(text), substitute))
        self.note(x, counts, "out")
        if counts and self._mode == "block":
            raise _blocked(counts, "answer")
        return checked

    def holds(
        self, x: Exchange, placeholders: Placeholders | None, *, scans: bool, restores: bool
    ) -> Callable[[str], Hold]:
        """What is made of each text of a streamed answer, by its place. `scans`: its own values are taken out, which may raise
        `pii_blocked`; `restores`: those of the request are put back."""
        name = _namer(placeholders)

        def substitute(kind: str, value: str) -> str:
            self.note(x, Counter({kind: 1}), "out")
            if self._mode == "block":
                raise _blocked(Counter({kind: 1}), "answer")
            x.state["redacted"] = True
            return name(kind, value)

        def hold(place: str) -> Hold:
            scan = WindowedHold(self.find, substitute) if scans else None
            if scan is not None and (placeholders is None or not restores):
                return scan
            return RestoredText(scan, placeholders if restores else None, place.endswith("arguments"))

        return hold

    def note(self, x: Exchange, counts: Counter[str], direction: str) -> None:
        """Note how many values of each kind were found, `in` a request or `out` of an answer."""
        for kind, count in sorted(counts.items()):
            x.note("pii", {"kind": kind, "count": count, "mode": self._mode, "direction": direction})


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
