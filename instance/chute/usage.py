"""What one call used, as the provider reported it or as it was counted here."""

from __future__ import annotations

from typing import Any

from instance.core.money import usd_to_nano

TOKENS_MAX = 1_000_000_000
"""A provider that reports more for one call is not believed."""
COST_MAX_USD = 100_000
USUAL_INPUT_DETAILS = 2
"""Cached and audio tokens; others are looked at more closely."""
USUAL_FIELDS = 5
"""A chat answer's usage has three counts and two objects of details; only a longer one is searched for more."""


class Apart:
    """What may have a price apart from plain text tokens. The tokens are parts of the call's input and output.

    `None` in a unit means that nobody counted it, which is not 0.
    """

    __slots__ = (
        "audio_in",
        "audio_ms",
        "audio_out",
        "cache_write",
        "cache_write_1h",
        "characters",
        "image_in",
        "image_out",
        "images",
        "reported_nano",
        "requests",
        "searches",
    )

    def __init__(self) -> None:
        self.cache_write = 0
        """Prompt tokens that the provider wrote into its cache, those kept for an hour (`cache_write_1h`) among them."""
        self.cache_write_1h = 0
        self.audio_in = 0
        self.audio_out = 0
        self.image_in = 0
        self.image_out = 0
        self.audio_ms: int | None = None
        """Milliseconds of audio that were read or made."""
        self.characters: int | None = None
        self.images: int | None = None
        self.requests: int | None = None
        """Units that the provider charges by request: searches of a rerank; `None` counts as one."""
        self.searches = 0
        """Searches of the web that the provider made for the answer."""
        self.reported_nano: int | None = None
        """What the provider itself says that the call cost, in nano-dollars."""


class Usage:
    """Tokens of one call. `source` is `reported` (by the provider) or `estimated` (by us); empty: nothing is known."""

    __slots__ = ("apart", "cached", "input", "output", "reasoning", "source")

    def __init__(self) -> None:
        self.input = 0
        self.output = 0
        self.cached = 0
        self.reasoning = 0
        self.source = ""
        self.apart: Apart | None = None

    def counted(self) -> Apart:
        """The counts that are priced apart, to fill in."""
        if self.apart is None:
            self.apart = Apart()
        return self.apart

    def take(self, usage: Any) -> None:
        """Read the `usage` object of an answer in canonical form; a field that is absent or no plausible count is 0.

        Chat and embeddings say `prompt_tokens` and `completion_tokens`, images and transcriptions `input_tokens` and
        `output_tokens`, a transcription charged by time `seconds`, rerank `total_tokens` or `search_units`.
        """
        if type(usage) is not dict:
            return
        if "prompt_tokens" not in usage:
            self._take_other(usage)
            return
        self.input = _count(usage["prompt_tokens"])
        self.output = _count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        if type(details) is dict:
            cached = _count(details.get("cached_tokens"))
            self.cached = cached if cached <= self.input else self.input
            if len(details) != USUAL_INPUT_DETAILS or details.get("audio_tokens", 1):
                self._take_input_details(details)
        else:
            # Moonshot and DeepSeek say it beside the other counts.
            cached = _count(usage.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0)
            self.cached = cached if cached <= self.input else self.input
        details = usage.get("completion_tokens_details")
        if type(details) is dict:
            self.reasoning = _count(details.get("reasoning_tokens"))
            if self.reasoning and usage.get("total_tokens") == self.input + self.output + self.reasoning:
                self.output += self.reasoning  # xAI counts them beside the answer's tokens, not among them
            if details.get("audio_tokens") or details.get("image_tokens"):
                self._take_output_details(details)
        else:
            self.reasoning = 0
        if len(usage) > USUAL_FIELDS or "cost" in usage:
            self._take_more(usage)
        self.source = "reported"

    def _take_input_details(self, details: dict[str, Any]) -> None:
        audio = details.get("audio_tokens")
        image = details.get("image_tokens")
        written = details.get("cache_creation_tokens")
        if audio or image or written:
            apart = self.counted()
            apart.audio_in = _count(audio)
            apart.image_in = _count(image)
            apart.cache_write = _count(written)
            apart.cache_write_1h = _count(details.get("cache_creation_1h_tokens"))

    def _take_output_details(self, details: dict[str, Any]) -> None:
        audio = details.get("audio_tokens")
        image = details.get("image_tokens")
        if audio or image:
            apart = self.counted()
            apart.audio_out = _count(audio)
            apart.image_out = _count(image)

    def _take_more(self, usage: dict[str, Any]) -> None:
        cost = usage.get("cost")
        if isinstance(cost, dict):
            cost = cost.get("total_cost")
        if isinstance(cost, (int, float)) and type(cost) is not bool and 0 <= cost <= COST_MAX_USD:
            self.counted().reported_nano = usd_to_nano(cost)
        tools = usage.get("server_tool_use")
        searches = tools.get("web_search_requests") if type(tools) is dict else usage.get("num_search_queries")
        if searches:
            self.counted().searches = _count(searches)

    def _take_other(self, usage: dict[str, Any]) -> None:
        seconds = usage.get("seconds")
        if isinstance(seconds, (int, float)) and 0 <= seconds <= TOKENS_MAX:
            self.counted().audio_ms = round(seconds * 1000)
            self.source = "reported"
        units = usage.get("search_units")
        if isinstance(units, (int, float)) and 0 <= units <= TOKENS_MAX:
            self.counted().requests = int(units)
            self.source = "reported"
        if "input_tokens" not in usage and "output_tokens" not in usage and "total_tokens" not in usage:
            return
        output = _count(usage.get("output_tokens"))
        self.output = output
        self.input = _count(usage.get("input_tokens", usage.get("total_tokens")))
        # Images write `input_tokens_details`, transcriptions `input_token_details`.
        details = usage.get("input_tokens_details") or usage.get("input_token_details")
        if type(details) is dict:
            self.cached = min(self.input, _count(details.get("cached_tokens")))
            self._take_input_details(details)
        details = usage.get("output_tokens_details") or usage.get("output_token_details")
        if type(details) is dict:
            self.reasoning = _count(details.get("reasoning_tokens"))
            self._take_output_details(details)
        self.source = "reported"


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else 0
