"""The table of well-known providers: every row can be used, and none takes what is another's."""

from collections import Counter
from typing import Any

import pytest

from instance.chute.mock_model import MockModel
from instance.chute.operations import all_operations
from instance.chute.provider import Provider
from instance.chute.provider_dialects import PROVIDER_DIALECTS
from instance.chute.provider_spec import AUTHS, DIALECTS, bundled_providers, env_names, merged_specs
from instance.chute.providers import ProviderTable
from instance.chute.upstream import Upstream, UpstreamUrl
from instance.core.clock import Clock
from instance.core.settings import ProviderSettings

FIELDS = {
    *(
        "title",
        "docs",
        "type",
        "base_url",
        "openai_base_url",
        "key_env",
        "base_url_env",
        "shim_env",
        "shim_env_optional",
        "prefixes",
        "auth",
    ),
    *("auth_header", "speaks", "headers", "stream_usage", "lists_models", "shared_key", "note", "unverified"),
}
SPOKEN = {
    "anthropic.messages",
    "voyage.rerank",
    *("openai.chat", "openai.completions", "openai.responses", "openai.embeddings", "openai.images", "openai.audio"),
    *("openai.moderations", "cohere.rerank"),
}
NAMES = sorted(bundled_providers())


def made(name: str, environ: dict[str, str], row: ProviderSettings | None = None) -> Provider:
    configured = {name: row} if row else {}
    return ProviderTable(Upstream(), MockModel(Clock()), configured, environ).get(name)


def environment(name: str) -> dict[str, str]:
    """What a user of that provider sets."""
    row = bundled_providers()[name]
    wanted = {env_names(row, "key_env")[0]: "the-key-1234"}
    for variable in merged_specs({}, {}, {})[name].needs_env:
        wanted[variable] = "filled-in"
    if not row.get("base_url"):
        wanted[env_names(row, "base_url_env")[0]] = "http://127.0.0.1:9999/v1"
    return wanted


def test_there_are_more_than_forty() -> None:
    assert len(NAMES) > 40


@pytest.mark.parametrize("name", NAMES)
def test_a_row_holds_known_fields_of_known_values(name: Any) -> None:
    row = bundled_providers()[name]
    assert set(row) <= FIELDS
    assert row["title"] and row["docs"].startswith("https://")
    assert row.get("type", "openai") in DIALECTS
    assert row.get("auth", "bearer") in AUTHS
    assert set(row.get("speaks", ["openai.chat"])) <= SPOKEN
    assert env_names(row, "key_env") and env_names(row, "base_url_env")


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_is_used_once_its_variables_are_set_and_not_before(name: Any) -> None:
    assert not made(name, {}).usable
    provider = made(name, environment(name))
    assert provider.usable, provider.problem
    assert provider.url is not None
    if bundled_providers()[name].get("base_url"):
        assert provider.url.scheme == "https"
    assert provider.openai_url is not None or provider.dialect == "replicate"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_key_is_read(name: Any) -> None:
    row = bundled_providers()[name]
    first, *others = env_names(row, "key_env")
    for other in others:
        environ = {key: value for key, value in environment(name).items() if key != first} | {other: "other-key"}
        assert made(name, environ).spec.api_key == "other-key"


def repeated(values: Any) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def test_no_two_providers_share_a_name_an_address_or_a_variable() -> None:
    rows = bundled_providers().values()
    assert repeated(row["title"] for row in rows) == []
    assert repeated(row["base_url"] for row in rows if row.get("base_url")) == []
    for field in ("key_env", "base_url_env", "shim_env"):
        assert repeated(name for row in rows for name in env_names(row, field)) == []


def test_no_prefix_of_one_provider_begins_a_prefix_of_another() -> None:
    owners = [(prefix, name) for name, row in bundled_providers().items() for prefix in row.get("prefixes", ())]
    clashes = [(a, b) for a, one in owners for b, other in owners if one != other and b.startswith(a)]
    assert clashes == []


def test_the_defaults_of_the_dialects_are_spoken_dialects() -> None:
    for dialect in PROVIDER_DIALECTS.values():
        assert set(dialect.speaks) <= SPOKEN
    assert {operation.dialect for operation in all_operations() if operation.path} <= SPOKEN


@pytest.mark.parametrize(
    ("name", "base_url", "native", "openai"),
    [
        ("anthropic", "", "https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("anthropic", "https://gw.example/a/v1", "https://gw.example/a", "https://gw.example/a/v1"),
        ("gemini", "", *["https://generativelanguage.googleapis.com/v1beta" + end for end in ("", "/openai")]),
        ("gemini", "https://gw.example/v1beta/openai", "https://gw.example/v1beta", "https://gw.example/v1beta/openai"),
        ("cohere", "", "https://api.cohere.com", "https://api.cohere.ai/compatibility/v1"),
        ("cohere", "https://gw.example/v2", "https://gw.example", "https://gw.example/compatibility/v1"),
        ("ollama", "http://127.0.0.1:11434", "http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("ollama", "http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("azure", "https://r.openai.azure.com/", "https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1"),
        ("groq", "https://gw.example/v1", "https://gw.example/v1", "https://gw.example/v1"),
    ],
)
def test_native_and_openai_compatible_parts_are_found_from_any_usual_base_url(
    name: Any, base_url: Any, native: Any, openai: Any
) -> None:
    row = ProviderSettings.model_validate({"base_url": base_url, "api_key": "k"})
    provider = made(name, {}, row)
    assert provider.url == UpstreamUrl.parse(native)
    assert provider.openai_url == UpstreamUrl.parse(openai)


@pytest.mark.parametrize(
    ("name", "own", "openai"),
    [
        ("openai", (b"authorization", b"Bearer k"), (b"authorization", b"Bearer k")),
        ("anthropic", (b"x-api-key", b"k"), (b"authorization", b"Bearer k")),
        ("gemini", (b"x-goog-api-key", b"k"), (b"authorization", b"Bearer k")),
        ("azure", (b"api-key", b"k"), (b"api-key", b"k")),
        ("bedrock", None, (b"authorization", b"Bearer k")),
    ],
)
def test_the_key_is_sent_as_each_part_wants_it(name: Any, own: Any, openai: Any) -> None:
    provider = made(name, environment(name) | {env_names(bundled_providers()[name], "key_env")[0]: "k"})
    secret = {b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"}
    assert [h for h in provider.headers(None, b"application/json") if h[0] in secret] == ([own] if own else [])
    found = provider.headers(None, b"application/json", openai=True)
    assert [h for h in found if h[0] in secret] == [openai]


def test_credentials_that_only_a_shim_can_use_make_a_provider_usable_without_an_openai_part() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
    assert not made("bedrock", {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"}).usable
    provider = made("bedrock", environ)
    assert provider.usable and provider.openai_url is None
    assert provider.spec.environ("AWS_SECRET_ACCESS_KEY") == "secret"
    assert provider.spec.environ("AWS_SESSION_TOKEN") == ""
    assert provider.url == UpstreamUrl.parse("https://bedrock-runtime.eu-west-1.amazonaws.com")
    assert "secret" not in repr(provider.spec)


def test_credentials_of_the_environment_are_redacted() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "aws-secret-1",
        "AWS_SESSION_TOKEN": "aws-session-1",
    }
    assert ProviderTable(Upstream(), MockModel(Clock()), {}, environ).key_texts == {"aws-secret-1", "aws-session-1"}


def test_a_key_that_is_there_for_other_ends_does_not_make_its_provider_the_one_for_any_name() -> None:
    table = ProviderTable(Upstream(), MockModel(Clock()), {}, {"OPENAI_API_KEY": "k", "HF_TOKEN": "hf"})
    assert [target.label for target in table.resolve("my-own-model")] == ["openai/my-own-model"]
    assert [target.label for target in table.resolve("huggingface/a/b")] == ["huggingface/a/b"]
    given = ProviderSettings.model_validate({"api_key": "hf-given"})
    alone = ProviderTable(Upstream(), MockModel(Clock()), {"huggingface": given}, {})
    assert [target.label for target in alone.resolve("my-own-model")] == ["huggingface/my-own-model"]


def test_what_a_base_url_still_needs_is_said() -> None:
    environ = {"CLOUDFLARE_API_TOKEN": "token"}
    table = ProviderTable(Upstream(), MockModel(Clock()), {}, environ)
    with pytest.raises(Exception, match="CLOUDFLARE_ACCOUNT_ID"):
        table.resolve("cloudflare/@cf/meta/llama-3.1-8b-instruct")
    found = made("cloudflare", environ | {"CLOUDFLARE_ACCOUNT_ID": "abc"}).url
    assert found is not None and found.text == "https://api.cloudflare.com/client/v4/accounts/abc/ai/v1"


def test_a_local_server_needs_no_key_and_is_sent_one_that_there_is() -> None:
    local = {"VLLM_BASE_URL": "http://127.0.0.1:8000/v1"}
    assert made("vllm", local).usable
    keyed = made("vllm", {**local, "VLLM_API_KEY": "k"})
    assert (b"authorization", b"Bearer k") in keyed.headers(None, b"application/json")
