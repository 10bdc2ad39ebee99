"""What an ordinary call costs in byte codes: a count that no neighbour on the machine changes, so that a test may hold it."""

import pytest

from bench.bytecodes import SETTINGS, Bytecodes, measure
from bench.chain_calls import CASES
from instance.core.money import nano_to_usd

WHOLE = CASES[0]
MOST = {"defaults": 3_500, "all plain": 19_000, "all at work": 28_000}
"""About a fifth above what CPython 3.11 runs. A change that needs more raises the number and says in its commit what the calls get for it."""


@pytest.mark.integration
@pytest.mark.asyncio
@pytest.mark.parametrize("settings", SETTINGS)
async def test_a_whole_call_stays_within_its_byte_codes(settings: str) -> None:
    measured = await measure(SETTINGS[settings], (WHOLE,), calls=7)
    assert measured["cases"][WHOLE.name]["bytecodes"] <= MOST[settings], measured["by_module"]


def test_what_the_product_runs_is_counted() -> None:
    counter = Bytecodes()
    with counter:
        nano_to_usd(1_500)
    once, entered = counter.count, counter.calls
    with counter:
        nano_to_usd(1_500)
        nano_to_usd(1_500)
    assert entered == 1
    assert (counter.count - once, counter.calls - entered) == (2 * once, 2 * entered)
