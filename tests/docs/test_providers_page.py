"""The settings that the page of providers prints are ones that an instance takes."""

import tomllib
from typing import Any

from instance.chute.mock_model import MockModel
from instance.chute.modules.shims.azureshim import AzureShim
from instance.chute.modules.shims.bedrockshim import BedrockShim
from instance.chute.providers import ProviderTable
from instance.chute.slot import validated
from instance.chute.upstream import Upstream
from instance.core.clock import Clock
from instance.core.settings import Settings
from tests.docs.pages import ROOT, blocks


def example(name: str) -> dict[str, Any]:
    (block,) = blocks(ROOT / "docs" / "providers.md", f"file: {name}")
    return tomllib.loads(block.body.replace("…", "secret-1234"))


def test_the_provider_is_usable() -> None:
    settings = Settings.model_validate(example("providers.toml"))
    provider = ProviderTable(Upstream(), MockModel(Clock()), settings.providers, {}).get("gateway")
    assert provider.usable and provider.dialect == "anthropic"


def test_azures_resources_are_settings_of_its_module() -> None:
    settings = validated(AzureShim, example("azure.toml")["modules"]["azureshim"])
    assert [resource.name for resource in AzureShim(settings).settings.resources] == ["east", "sweden"]


def test_bedrocks_credentials_are_settings_of_its_module() -> None:
    settings = validated(BedrockShim, example("bedrock.toml")["modules"]["bedrockshim"])
    own = BedrockShim(settings).settings
    assert (own.region, own.profile_prefix, own.access_key.get_secret_value()) == (
        "eu-central-1",
        "eu",
        "AKIAsecret-1234",
    )
