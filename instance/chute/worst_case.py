"""The most that a call can cost, known before it is made: what budgets reserve for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance.chute.tokens import count_prompt_tokens, max_output_tokens
from instance.core.money import line_cost_nano

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.prices import Price, PriceTable
    from instance.chute.targets import Target

ASSUMED_OUTPUT_TOKENS = 4096
"""Output to count with where neither the request nor a setting says how much it may be."""


def worst_case_nano(
    x: Exchange, prices: PriceTable, output_tokens: int = ASSUMED_OUTPUT_TOKENS, assumed: Price | None = None
) -> tuple[int, Target | None]:
    """The price of the counted prompt and the most output at the dearest target, in nano-dollars.

    `output_tokens` is counted where the request sets no maximum, `assumed` is the price of targets that have none. The
    second value is a target without any price, `None` when all have one.
    """
    worst = 0
    unpriced = None
    tokens_in = tokens_out = -1
    for target in x.targets:
        price = prices.lookup(target.provider.name, target.model) or assumed
        if price is None:
            unpriced = target
            continue
        if not price.input and not price.output:
            continue
        if tokens_in < 0:
            tokens_in = count_prompt_tokens(x.req)
            tokens_out = max_output_tokens(x.req, output_tokens)
        worst = max(worst, line_cost_nano(tokens_in, price.input) + line_cost_nano(tokens_out, price.output))
    return worst, unpriced
