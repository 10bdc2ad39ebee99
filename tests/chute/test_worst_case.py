"""What a call can cost at most, before it is made."""

from typing import Any

import pytest

from instance.chute.operations import operation_of
from instance.chute.prices import PriceTable
from instance.chute.worst_case import ASSUMED_OUTPUT_TOKENS, worst_case_nano
from instance.core.settings import PriceSettings
from tests.modules.conftest import pytest_asyncio_loop_factories, running
from tests.modules.exchanges import exchange, target

__all__ = ["pytest_asyncio_loop_factories"]


def worst(
    req: dict[str, Any], *labels: str, path: str = "/v1/chat/completions", **own: PriceSettings
) -> tuple[int, Any]:
    x = exchange()
    operation = operation_of(path)
    assert operation is not None
    x.operation = operation
    x.kind = x.operation.kind
    x.req = req
    x.targets = [target(label) for label in labels]
    return worst_case_nano(x, PriceTable({f"up/{name}": price for name, price in own.items()}))


def chat(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hello"}], **more}


def output_nano(req: dict[str, Any], label: str) -> int:
    """The part of the worst case that is output."""
    return worst(req, label)[0] - worst({**req, "max_tokens": 0, "max_completion_tokens": 0}, label)[0]


def test_the_models_limit_caps_what_the_request_allows() -> None:
    # gpt-4o gives at most 16,384 tokens, at ten dollars a million
    assert output_nano(chat(max_tokens=100), "openai/gpt-4o") == 100 * 10_000
    assert output_nano(chat(max_tokens=10**9), "openai/gpt-4o") == 16_384 * 10_000
    assert output_nano(chat(max_tokens=10**9, n=3), "openai/gpt-4o") == 3 * 16_384 * 10_000


def test_without_a_maximum_the_assumed_output_counts_unless_the_model_gives_less() -> None:
    assert output_nano(chat(), "openai/gpt-4o") == ASSUMED_OUTPUT_TOKENS * 10_000
    assert output_nano(chat(), "cohere/c4ai-aya-expanse-32b") == 4000 * 1_500


def test_the_dearest_target_counts_and_one_without_a_price_is_named() -> None:
    dear, _ = worst(chat(max_tokens=10), "openai/gpt-4o")
    both, unpriced = worst(chat(max_tokens=10), "openai/gpt-4o-mini", "openai/gpt-4o", "up/nothing")
    assert both == dear
    assert unpriced is not None
    assert unpriced.label == "up/nothing"


def test_a_long_prompt_is_reckoned_at_its_own_price() -> None:
    short = worst({"messages": [{"role": "user", "content": "x" * 3000}], "max_tokens": 0}, "gemini/gemini-2.5-pro")[0]
    long = worst({"messages": [{"role": "user", "content": "x" * 900_000}], "max_tokens": 0}, "gemini/gemini-2.5-pro")[
        0
    ]
    assert long > short * 300 * 1.9


def test_other_kinds_are_reckoned_by_what_they_ask_for() -> None:
    image = PriceSettings(per_image_usd="0.04")  # type: ignore[arg-type]
    assert worst({"prompt": "x", "n": 3}, "up/i", path="/v1/images/generations", i=image)[0] == 120_000_000
    spoken = PriceSettings(per_million_characters_usd="15")  # type: ignore[arg-type]
    assert worst({"input": "x" * 100}, "up/s", path="/v1/audio/speech", s=spoken)[0] == 1_500_000
    ranked = PriceSettings(per_request_usd="0.002")  # type: ignore[arg-type]
    assert worst({"documents": ["x"] * 101}, "up/r", path="/v1/rerank", r=ranked)[0] == 4_000_000
    assert worst({"input": "x" * 30}, "openai/text-embedding-3-small", path="/v1/embeddings")[0] == 10 * 20


@pytest.mark.parametrize(("ceiling", "status"), [("0.20", 200), ("0.01", 429)])
async def test_the_header_refuses_by_the_models_own_limit(ceiling: str, status: int) -> None:
    # The request allows 10^9 tokens, which would cost a thousand dollars; gpt-4o cannot give more than 16,384.
    config = '[providers.openai]\nbase_url = "{url}"\napi_key = "k"\nmodels = ["gpt-4o"]\n'
    async with running({"costcap": True}, providers=lambda mock: config.replace("{url}", mock.url)) as s:
        answer = await s.http().post(
            "/v1/chat/completions",
            headers={"X-Stockyard-Max-Cost-Usd": ceiling},
            json={"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10**6},
        )
        assert answer.status_code == status, answer.text
