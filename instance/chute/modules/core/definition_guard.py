"""Guards what a request says of tools: which it offers, and what came back from them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from instance.chute.call_identity import key_id
from instance.chute.exchange import Exchange
from instance.chute.modules.core.injection_marks import InjectionMarks
from instance.chute.modules.core.learned_scan import LearnedScan, ToolText
from instance.chute.modules.core.suspicion import note, suspicious
from instance.chute.modules.core.tool_definitions import (
    BadTool,
    Offered,
    demanded,
    offered_tools,
    permitted,
    without,
)
from instance.chute.modules.core.tool_pins import ToolPins
from instance.chute.modules.core.tool_results import last_answer, results, shortened, text_of, unknown_result
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.modules.core.toolshield import ToolShield

READ_MAX = 4_096
"""Definitions whose text, and what its marks are, is remembered, by digest."""


class DefinitionGuard:
    """Definitions: well formed, permitted, few enough, as they were pinned, and without hidden instructions."""

    def __init__(
        self, settings: ToolShield.Settings, pins: ToolPins, marks: InjectionMarks, learned: LearnedScan | None
    ) -> None:
        self._settings = settings
        self._pins = pins
        self._marks = marks
        self._learned = learned
        self._read: OrderedDict[bytes, tuple[str, list[str]]] = OrderedDict()

    def checked(self, x: Exchange) -> list[Offered]:
        """The tools of the call that may be offered. Raises `tool_schema_invalid`, `tool_denied`."""
        own = self._settings
        try:
            offered = offered_tools(x.req)
        except BadTool as bad:
            raise StockyardError(
                "tool_schema_invalid", f"A tool cannot be used: {bad}.", param=bad.place, retryable=False
            ) from None
        denied = {tool.name for tool in offered if not permitted(tool.name, x.team, own.allow, own.deny)}
        if denied:
            offered = self._without_denied(x, offered, denied)
        if len(offered) > own.max_tools:
            raise StockyardError(
                "tool_schema_invalid",
                f"The request offers {len(offered)} tools; at most {own.max_tools} may be.",
                param="tools",
                retryable=False,
            )
        for tool in offered:
            self._check_definition(x, tool)
        return offered

    def _without_denied(self, x: Exchange, offered: list[Offered], denied: set[str]) -> list[Offered]:
        rejects = self._settings.on_denied == "reject" or demanded(x.req) in denied
        for name in sorted(denied):
            note(x, name, "denied", "reject" if rejects else "remove")
        if rejects:
            names = ", ".join(sorted(denied))
            raise StockyardError(
                "tool_denied", f"These tools may not be offered: {names}.", param="tools", retryable=False
            )
        x.req = without(x.req, denied)
        x.change()
        return [tool for tool in offered if tool.name not in denied]

    def _check_definition(self, x: Exchange, tool: Offered) -> None:
        own = self._settings
        if own.pin == "off" and own.scan_results == "off":
            return
        digest = tool.digest
        if own.pin != "off" and not x.dry:
            owner = f"team:{x.team}" if x.team else f"key:{key_id(x)}"
            if not self._pins.holds(owner, tool.name, digest):
                note(x, tool.name, "changed", own.pin)
                if own.pin == "block":
                    raise StockyardError(
                        "tool_denied",
                        f"The tool {tool.name!r} is not what it was when it was first offered; an operator must pin it anew.",
                        param=tool.place,
                        retryable=False,
                    )
        if own.scan_results != "off":
            read = self._read.get(digest)
            if read is None:
                text = tool.texts()
                read = self._read[digest] = text, self._marks.found(text)
                if len(self._read) > READ_MAX:
                    self._read.popitem(last=False)
            text, marks = read
            if marks:
                suspicious(x, own.scan_results, tool.name, "description", marks, tool.place)
            elif self._learned is not None:
                self._learned.look(x, ToolText(tool.name, "description", tool.place, text), is_new=True)


class ResultGuard:
    """Results: each answers a call that was made, is not too long, and gives no orders."""

    def __init__(self, settings: ToolShield.Settings, marks: InjectionMarks, learned: LearnedScan | None) -> None:
        self._settings = settings
        self._marks = marks
        self._learned = learned

    def check(self, x: Exchange, *, scans: bool) -> None:
        """Raise `tool_result_unknown`, `tool_denied`; `scans`: whether results are looked at for injection."""
        unknown = unknown_result(x.req)
        if unknown is not None:
            raise StockyardError(
                "tool_result_unknown",
                "This result answers no call that was made before it.",
                param=f"messages[{unknown}].tool_call_id",
                retryable=False,
            )
        cut = shortened(x.req, self._settings.max_result_chars)
        if cut is not x.req:
            x.req = cut
            x.change()
            note(x, "", "max_result_chars", "cut")
        if not scans:
            return
        last = last_answer(x.req) if self._learned is not None else 0
        for number, message in results(x.req):
            text = text_of(message)
            marks = self._marks.found(text)
            name, place = str(message.get("name") or ""), f"messages[{number}]"
            if marks:
                suspicious(x, self._settings.scan_results, name, "result", marks, place)
            elif self._learned is not None:
                self._learned.look(x, ToolText(name, "result", place, text), is_new=number > last)
