"""What is said of credentials that were found: in the trail, to a webhook, and to a caller who is refused; never their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from instance.chute.exchange import Exchange
from instance.chute.modules.safety.secret_scanner import PROVIDER_KEY, Finding
from instance.chute.webhook import Webhook
from instance.core.errors import StockyardError
from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from instance.core.core import Core

FINDINGS_NOTED_MAX = 20

Found = list[tuple[Finding, str]]
"""Findings with the places of their texts."""
Direction = Literal["in", "out"]


class SecretReports:
    """Notes what was found in a call; `tell` names the webhook that is told as well."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._notices: Webhook | None = None
        self._core: Core | None = None

    def tell(self, url: str, core: Core, name: str) -> None:
        """From now on this address is told of each call with a secret."""
        self._core = core
        self._notices = Webhook(url, core, name)

    async def close(self) -> None:
        if self._notices is not None:
            await self._notices.close()

    def note(self, x: Exchange, found: Found, direction: Direction) -> None:
        """Put findings into the call's trail; of those in an answer it is known that stored texts are redacted."""
        if direction == "out":
            x.state["redacted"] = True
        for finding, place in found[:FINDINGS_NOTED_MAX]:
            did = "redact" if finding.detector == PROVIDER_KEY and self._action == "flag" else self._action
            x.note(
                "secret",
                {
                    "detector": finding.detector,
                    "severity": finding.severity,
                    "direction": direction,
                    "place": place,
                    "action": did,
                    "preview": finding.preview,
                },
            )
        if self._notices is not None and self._core is not None:
            detectors = sorted({finding.detector for finding, _ in found})
            at = rfc3339(self._core.clock.wall_ns())
            notice = {"event": "secret.found", "trace_id": x.id, "model": x.model_requested, "team": x.team, "at": at}
            self._notices.add({**notice, "detectors": detectors, "direction": direction, "action": self._action})


def refusal(found: Found, direction: Direction) -> StockyardError:
    """The error of a call that is refused for what was found."""
    names = ", ".join(sorted({finding.detector for finding, _ in found}))
    where = "request" if direction == "in" else "answer"
    hint = " Take it out of the text, or have an operator allow the value." if direction == "in" else ""
    return StockyardError(
        "secret_blocked",
        f"The {where} holds what looks like a credential ({names}).{hint}",
        param=found[0][1] if direction == "in" else None,
        details=[{"detector": finding.detector, "place": place} for finding, place in found[:FINDINGS_NOTED_MAX]],
        retryable=False,
    )
