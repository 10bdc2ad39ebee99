"""A provider's moderation endpoint, asked by a sub-request; its categories as ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance.chute.sub_request import SubRequestFailed

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.core import Core

ASK_FROM = 0.25
"""Score from which a sentence of an answer is shown to the moderation endpoint; requests are always."""
MODERATION_NAMES = {
    "self-harm": "self_harm",
    "sexual/minors": "sexual/minors",
    "sexual": "sexual",
    "hate": "hate",
    "harassment": "harassment",
    "violence": "violence",
    "illicit": "illicit",
}
"""Categories of moderation endpoints (those below them, as `hate/threatening`, count to them) -> ours."""


class ModerationEndpoint:
    """The endpoint of one module's setting."""

    def __init__(self, core: Core, module: str, model: str) -> None:
        self._core = core
        self._module = module
        self._model = model

    async def scores(self, x: Exchange, text: str) -> dict[str, float]:
        """What it says of a text; nothing when it fails, of which the trail has an entry."""
        asking: Any = self._core.services["sub_requests"]
        try:
            said = await asking.moderate(x, self._module, text, model=self._model)
        except SubRequestFailed:
            return {}
        found: dict[str, float] = {}
        for name, score in said.items():
            ours = MODERATION_NAMES.get(name) or MODERATION_NAMES.get(name.split("/", 1)[0])
            if ours:
                found[ours] = max(found.get(ours, 0.0), score)
        return found
