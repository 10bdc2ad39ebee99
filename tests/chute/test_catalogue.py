"""The catalogue of models."""

import re

import pytest

from instance.chute.catalogue import CAPABILITIES, Catalogue, bundled_models, bundled_providers_with_models
from instance.chute.price import PER_TOKEN, PER_UNIT

PROVIDERS = [name for name in bundled_providers_with_models() if name != "mock"]
KINDS = {"chat", "embeddings", "image", "audio", "moderation", "rerank"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_model_says_what_it_can_and_where_and_when_that_was_published(provider: str) -> None:
    models = bundled_models(provider)
    assert models
    for model in models.values():
        assert model.capabilities[0] in KINDS
        assert set(model.capabilities) <= set(CAPABILITIES)
        assert re.fullmatch(r"20\d{2}-\d{2}", model.as_of)
        assert model.source.startswith("https://")
        assert model.context_tokens is None or model.context_tokens > 0
        assert model.output_tokens is None or 0 < model.output_tokens < (model.context_tokens or 1 << 40)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_price_is_something_unless_the_model_is_a_free_moderation(provider: str) -> None:
    for model in bundled_models(provider).values():
        price = model.price
        if price is None:
            continue
        assert not price.free or model.capabilities == ("moderation",)
        assert all((getattr(price, name) or 0) >= 0 for name in (*PER_TOKEN, *PER_UNIT))
        if "chat" in model.capabilities and price.cached_input is not None:
            assert price.cached_input <= price.input
        if price.above is not None:
            assert price.above_tokens > 0
            assert price.above.input >= price.input


def test_the_main_providers_are_there() -> None:
    for provider in [
        "openai",
        "anthropic",
        "gemini",
        "mistral",
        "cohere",
        "groq",
        "deepseek",
        "together",
        "fireworks",
        "xai",
        "perplexity",
        "bedrock",
        "azure",
    ]:
        priced = [model for model in bundled_models(provider).values() if model.price is not None]
        assert len(priced) >= 5, provider


def test_limits_abilities_and_parameters_of_a_model_are_found() -> None:
    model = Catalogue().find("anthropic", "claude-haiku-4-5-20251001")
    assert model is not None
    assert (model.name, model.context_tokens, model.output_tokens) == ("claude-haiku-4-5", 200_000, 64_000)
    assert model.can("tools")
    assert not model.can("embeddings")
    reasoning = Catalogue().find("openai", "gpt-5")
    assert reasoning is not None
    assert reasoning.parameters["temperature"] is False
    assert "low" in reasoning.parameters["reasoning_effort"]


def test_what_is_not_known_is_none() -> None:
    catalogue = Catalogue()
    assert catalogue.find("openai", "gpt-99") is None
    assert catalogue.find("nobody", "gpt-4o") is None
    assert catalogue.find("nobody", "gpt-4o", "openai") is None


def test_a_model_is_found_under_each_of_its_names() -> None:
    model = Catalogue().find("fireworks", "kimi-k3")
    assert model is not None
    assert model.name == "accounts/fireworks/models/kimi-k3"
    assert [one.name for one in Catalogue().models("fireworks")].count(model.name) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_image_is_charged_both_by_tokens_and_by_the_piece(provider: str) -> None:
    for model in bundled_models(provider).values():
        if model.price is not None:
            assert model.price.image is None or model.price.image_output is None


def test_a_gemini_model_is_found_under_the_name_that_its_list_gives_it() -> None:
    catalogue = Catalogue()
    assert catalogue.find("gemini", "models/gemini-2.5-pro") is catalogue.find("gemini", "gemini-2.5-pro")
