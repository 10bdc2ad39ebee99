"""The most that a call can cost, known before it is made: what budgets reserve for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from instance.chute.module import TEXT_KINDS
from instance.chute.tokens import asked_output
from instance.core.money import line_cost_nano

if TYPE_CHECKING:
    from instance.chute.answer import JSON
    from instance.chute.exchange import Exchange
    from instance.chute.price import Price
    from instance.chute.prices import PriceTable
    from instance.chute.targets import Target

ASSUMED_OUTPUT_TOKENS = 4096
"""Output to count with where neither the request nor a setting says how much it may be."""
IMAGE_OUTPUT_TOKENS = 6240
"""What the largest image of the highest quality takes with models that charge images by tokens."""
DOCUMENTS_PER_REQUEST = 100
"""A rerank is charged once for each so many documents."""


def worst_case_nano(
    x: Exchange,
    prices: PriceTable,
    output_tokens: int = ASSUMED_OUTPUT_TOKENS,
    assumed: Price | None = None,
    targets: Sequence[Target] | None = None,
) -> tuple[int, Target | None]:
    """The price of the counted prompt and the most output at the dearest target, in nano-dollars.

    The most output is what the request allows, else `output_tokens`, and never more than the model can give. `assumed` is the
    price of targets that have none, `targets` are those that count in place of the call's. The second value is a target
    without any price, `None` when all have one.
    """
    worst = 0
    unpriced = None
    is_text = x.kind in TEXT_KINDS
    tokens_in, most, count = -1, 0, 1
    for target in x.targets if targets is None else targets:
        known = target.known_price
        price = (known[1] if known is not None and known[0] is prices else prices.of(target)) or assumed
        if price is None:
            unpriced = target
            continue
        if not price.input and price.free:
            continue
        if tokens_in < 0:
            tokens_in = x.prompt_tokens()
            most, count = asked_output(x.req, output_tokens)
        if price.above is not None and tokens_in > price.above_tokens:
            price = price.above
        if is_text:
            catalogued = target.known_model
            model = (
                catalogued[1]
                if catalogued is not None and catalogued[0] is prices.catalogue
                else prices.catalogue.of(target)
            )
            limit = model.output_tokens if model is not None else None
            tokens_out = count * (most if limit is None or most <= limit else limit)
            # Each line rounded half up once, as `line_cost_nano` does.
            nano = (tokens_in * price.input + 500) // 1000 + (tokens_out * price.output + 500) // 1000
            if price.request:
                nano += price.request
        else:
            nano = line_cost_nano(tokens_in, price.input) + _units_nano(x.req, x.kind, price)
        if nano > worst:
            worst = nano
    return worst, unpriced


def worst_case_of_all_nano(
    x: Exchange, services: Mapping[str, Any], output_tokens: int = ASSUMED_OUTPUT_TOKENS, assumed: Price | None = None
) -> tuple[int, Target | None]:
    """`worst_case_nano` over all targets that could serve, those to which fallbackrouter would go on among them. For a call of
    which the module multicall asks several targets it is the sum of theirs, as all are paid."""
    prices = services["prices"]
    multicall = services.get("multicall")
    several = multicall.asked(x) if multicall is not None else ()
    if not several:
        fallbacks = services.get("fallbacks")
        more = fallbacks.of(x) if fallbacks is not None else ()
        return worst_case_nano(x, prices, output_tokens, assumed, [*x.targets, *more] if more else None)
    total, unpriced = 0, None
    for target in several:
        nano, without = worst_case_nano(x, prices, output_tokens, assumed, (target,))
        total += nano
        unpriced = unpriced or without
    return total, unpriced


def _units_nano(req: JSON, kind: str, price: Price) -> int:
    """What the request asks for that is no text: images, speech, documents to rank."""
    if kind == "images":
        count = req.get("n")
        images = count if type(count) is int and count > 0 else 1
        if price.image is not None:
            return images * price.image
        return line_cost_nano(
            images * IMAGE_OUTPUT_TOKENS, price.output if price.image_output is None else price.image_output
        )
    if kind == "audio" and price.characters is not None:
        text = req.get("input")
        return line_cost_nano(len(text), price.characters) if type(text) is str else 0
    if price.request is not None:
        documents = req.get("documents")
        count = len(documents) if type(documents) is list else 1
        return -(-count // DOCUMENTS_PER_REQUEST) * price.request
    return 0
