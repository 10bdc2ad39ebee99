"""What a call costs, line by line. Each line is rounded half up once; the cost of the call is the sum of its lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from instance.core.money import line_cost_nano

if TYPE_CHECKING:
    from instance.chute.price import Price
    from instance.chute.usage import Apart

MS_PER_HOUR = 3_600_000
BY_UNIT = frozenset(("audio", "images", "other"))
"""Kinds of calls that are charged by something else than tokens as a rule."""


class Counted(Protocol):
    """What one call used. `cached` is the part of `input` that the provider read from its cache, `reasoning` a part of
    `output`; `apart` is `None` when nothing but plain text tokens was used."""

    @property
    def input(self) -> int: ...
    @property
    def output(self) -> int: ...
    @property
    def cached(self) -> int: ...
    @property
    def reasoning(self) -> int: ...
    @property
    def apart(self) -> Apart | None: ...


def cost_lines(price: Price, usage: Counted) -> list[tuple[str, int]]:
    """The cost of a call as lines `(what, nano-dollars)`; what was not used, or has no price in its unit, has no line."""
    if price.above is not None and usage.input > price.above_tokens:
        price = price.above
    apart = usage.apart
    rest = usage.input
    lines: list[tuple[str, int]] = []
    cached = 0
    if price.cached_input is not None and usage.cached:
        cached = min(usage.cached, rest)
        rest -= cached
    if apart is None and price.request is None and (price.reasoning is None or not usage.reasoning):
        # Plain text, as most calls are.
        if rest:
            lines.append(("input", (rest * price.input + 500) // 1000))
        if cached:
            lines.append(("cached", line_cost_nano(cached, price.cached_input or 0)))
        rest = usage.output
        if rest:
            lines.append(("output", (rest * price.output + 500) // 1000))
        return lines
    of_input: list[tuple[str, int]] = []
    if apart is not None:
        rest = _input_apart(price, apart, rest, of_input)
    if rest:
        lines.append(("input", line_cost_nano(rest, price.input)))
    if cached:
        lines.append(("cached", line_cost_nano(cached, price.cached_input or 0)))
    lines += of_input
    rest = usage.output
    of_output: list[tuple[str, int]] = []
    if price.reasoning is not None and usage.reasoning:
        rest = _line("reasoning", min(usage.reasoning, rest), price.reasoning, rest, of_output)
    if apart is not None:
        rest = _line("audio_output", apart.audio_out, price.audio_output, rest, of_output)
        rest = _line("image_output", apart.image_out, price.image_output, rest, of_output)
    if rest:
        lines.append(("output", line_cost_nano(rest, price.output)))
    lines += of_output
    if apart is not None or price.request is not None:
        lines += _units(price, apart)
    return lines


def is_complete(price: Price, usage: Counted, kind: str) -> bool:
    """Whether the lines hold everything that the call was charged for: false when the price is by a unit (a minute, an image,
    a character) that nobody counted, so that the cost is not known."""
    if kind not in BY_UNIT:
        return bool(usage.input or usage.output) or not (price.input or price.output)
    apart = usage.apart
    if kind == "audio":
        if price.audio_hour is not None:
            return apart is not None and apart.audio_ms is not None
        if price.characters is not None:
            return apart is not None and apart.characters is not None
    if kind == "images" and price.image is not None:
        return apart is not None and apart.images is not None
    if price.request is not None:
        return True
    by_token = price.input or price.output or price.audio_output or price.image_output
    return bool(usage.input or usage.output) or not by_token


def _input_apart(price: Price, apart: Apart, rest: int, lines: list[tuple[str, int]]) -> int:
    """Lines for the parts of the prompt that have prices of their own; what is left of it."""
    written = apart.cache_write
    if price.cache_write_1h is not None:
        long_kept = min(apart.cache_write_1h, written)
        rest = _line("cache_write_1h", long_kept, price.cache_write_1h, rest, lines)
        written -= long_kept
    rest = _line("cache_write", written, price.cache_write, rest, lines)
    rest = _line("audio_input", apart.audio_in, price.audio_input, rest, lines)
    return _line("image_input", apart.image_in, price.image_input, rest, lines)


def _line(what: str, tokens: int, price: int | None, rest: int, lines: list[tuple[str, int]]) -> int:
    tokens = min(tokens, rest)
    if price is None or not tokens:
        return rest
    lines.append((what, line_cost_nano(tokens, price)))
    return rest - tokens


def _units(price: Price, apart: Apart | None) -> list[tuple[str, int]]:
    lines = []
    if price.request is not None:
        lines.append(("request", (1 if apart is None or apart.requests is None else apart.requests) * price.request))
    if apart is None:
        return lines
    if price.characters is not None and apart.characters:
        lines.append(("characters", line_cost_nano(apart.characters, price.characters)))
    if price.image is not None and apart.images:
        lines.append(("image", apart.images * price.image))
    if price.audio_hour is not None and apart.audio_ms:
        lines.append(("audio", (2 * apart.audio_ms * price.audio_hour + MS_PER_HOUR) // (2 * MS_PER_HOUR)))
    if price.search is not None and apart.searches:
        lines.append(("search", apart.searches * price.search))
    return lines
