"""Which provider serves a model, and where its key comes from."""

from typing import Any

import orjson
import pytest

from instance.chute.mock_model import MockModel
from instance.chute.model_lists import ModelLists
from instance.chute.models_endpoint import Sources, model_one, models_list
from instance.chute.prices import PriceTable
from instance.chute.provider_check import check_chat, check_models
from instance.chute.provider_spec import StoredProvider
from instance.chute.providers import ProviderTable
from instance.chute.upstream import Upstream
from instance.core.clock import Clock, FakeClock
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.settings import ProviderSettings
from tests.mock_replies import Reply, html, status
from tests.mock_upstream import MockUpstream


def table(
    environ: dict[str, str] | None = None, stored: list[StoredProvider] | None = None, **configured: ProviderSettings
) -> ProviderTable:
    made = ProviderTable(Upstream(), MockModel(Clock()), configured, environ or {})
    made.replace_stored({row.name: row for row in stored or []})
    return made


def labels(made: ProviderTable, model: str, provider: str = "") -> list[str]:
    return [target.label for target in made.resolve(model, provider)]


def refusal(made: ProviderTable, model: str, provider: str = "") -> StockyardError:
    with pytest.raises(StockyardError) as caught:
        made.resolve(model, provider)
    return caught.value


OPENAI = {"OPENAI_API_KEY": "sk-from-env"}
BOTH = {**OPENAI, "GROQ_API_KEY": "gsk-from-env"}
LOCAL = ProviderSettings.model_validate({"base_url": "http://127.0.0.1:11434/v1", "auth": "none"})


def test_the_mock_model_is_always_there():
    assert labels(table(), "mock/gpt") == ["mock/gpt"]
    assert labels(table(BOTH), "mock/anything") == ["mock/anything"]


def test_a_provider_and_model_name_both():
    assert labels(table(BOTH), "groq/llama-3.3-70b-versatile") == ["groq/llama-3.3-70b-versatile"]
    assert labels(table(BOTH), "openai/not-known-yet") == ["openai/not-known-yet"]


def test_a_bare_name_goes_to_the_provider_with_its_prefix():
    assert labels(table(BOTH), "gpt-4o") == ["openai/gpt-4o"]
    assert labels(table(BOTH), "llama-3.1-8b-instant") == ["groq/llama-3.1-8b-instant"]


def test_a_bare_name_that_providers_list_goes_to_them_by_priority():
    stored = [
        StoredProvider("first", base_url="http://a.example", auth="none", models=["gpt-4o"], priority=10),
        StoredProvider("second", base_url="http://b.example", auth="none", models=["gpt-4o"], priority=20),
    ]
    assert labels(table(OPENAI, stored), "gpt-4o") == ["first/gpt-4o", "second/gpt-4o"]


def test_any_other_name_goes_to_the_only_provider_there_is():
    assert labels(table(local=LOCAL), "qwen2.5:7b") == ["local/qwen2.5:7b"]
    assert labels(table(local=LOCAL), "gpt-4o") == ["local/gpt-4o"]
    assert labels(table(local=LOCAL), "library/qwen") == ["local/library/qwen"]


def test_a_model_name_with_a_slash_can_belong_to_another_provider_than_its_first_part():
    assert labels(table({"GROQ_API_KEY": "gsk"}), "openai/gpt-oss-120b") == ["groq/openai/gpt-oss-120b"]


def test_the_header_overrides_what_the_name_says():
    assert labels(table(BOTH), "gpt-4o", "groq") == ["groq/gpt-4o"]
    assert labels(table(BOTH), "groq/gpt-4o", "groq") == ["groq/gpt-4o"]
    assert refusal(table(BOTH), "gpt-4o", "nobody").code == "unknown_provider"
    assert refusal(table(BOTH), "gpt-4o", "mistral").code == "no_provider"


def test_without_any_provider_the_refusal_names_the_variable_to_set():
    error = refusal(table(), "gpt-4o")
    assert (error.code, error.status, error.param) == ("no_provider", 503, "model")
    assert "OPENAI_API_KEY" in error.message and "mock/gpt" in error.message


def test_a_named_provider_without_a_key_says_so():
    error = refusal(table({"GROQ_API_KEY": "gsk"}), "openai/gpt-4o")
    assert error.code == "no_provider"
    assert "OPENAI_API_KEY" in error.message


def test_a_name_that_no_provider_is_known_for_is_not_found():
    error = refusal(table(BOTH), "who-knows")
    assert (error.code, error.status) == ("model_not_found", 404)
    assert "groq, openai" in error.message


def test_the_list_of_targets_is_the_callers_own():
    made = table(OPENAI)
    made.resolve("gpt-4o").clear()
    assert labels(made, "gpt-4o") == ["openai/gpt-4o"]


def test_memory_of_resolved_names_is_bounded():
    made = table(OPENAI)
    for number in range(10_000):
        made.resolve(f"gpt-{number}")
    assert len(made._resolved) <= 4096


def test_later_layers_win_and_leave_the_rest():
    configured = ProviderSettings.model_validate(
        {"api_key": "from-toml", "base_url": "https://toml.example/v1", "region": "eu"}
    )
    stored = [StoredProvider("openai", api_key="from-database", priority=7)]
    made = table(None, stored, openai=configured).get("openai")
    assert (made.spec.api_key, made.key_source, made.spec.base_url) == (
        "from-database",
        "stored",
        "https://toml.example/v1",
    )
    assert (made.region, made.spec.priority) == ("eu", 7)
    environ = {"OPENAI_API_KEY": " from-env ", "OPENAI_BASE_URL": "https://env.example/v1"}
    made = table(environ, stored, openai=configured).get("openai")
    assert (made.spec.api_key, made.key_source, made.spec.base_url) == ("from-env", "env", "https://env.example/v1")


def test_a_key_of_the_environment_never_shows_in_a_repr():
    made = table(OPENAI).get("openai")
    assert "sk-from-env" not in repr(made.spec) + repr(made)


def test_the_keys_in_use_are_known_for_redaction_and_replaced_on_a_change():
    made = table(OPENAI)
    before = made.key_texts
    assert before == {"sk-from-env"}
    made.replace_stored({"other": StoredProvider("other", base_url="http://x.example", api_key="another-key")})
    assert made.key_texts == {"sk-from-env", "another-key"}
    assert made.key_texts is not before


@pytest.mark.parametrize(
    ("row", "status_shown"),
    [
        ({}, "no_key"),
        ({"api_key": "key"}, "active"),
        ({"api_key": "key", "enabled": False}, "disabled"),
        ({"api_key": "key", "base_url": "not a url"}, "down"),
        ({"api_key": "bad key\r\n"}, "down"),
        ({"api_key": "key", "headers": {"host": "evil"}}, "down"),
        ({"key_lost": True}, "down"),
    ],
)
def test_a_provider_that_cannot_be_used_is_shown_and_not_called(row, status_shown):
    made = table(None, [StoredProvider("mistral", **row)])
    assert made.get("mistral").status == status_shown
    assert made.get("mistral").usable == (status_shown == "active")


def test_failures_in_a_row_are_seen_and_forgotten_with_an_answer():
    provider = table(OPENAI).get("openai")
    seen = []
    for _ in range(5):
        provider.health.observe(False, 100, "reset")
        seen.append(provider.status)
    assert seen == ["active", "suspect", "suspect", "suspect", "down"]
    provider.health.observe(True, 100)
    assert provider.status == "active"


def test_a_change_of_one_provider_leaves_the_others_as_they_were():
    made = table(BOTH)
    groq, openai = made.get("groq"), made.get("openai")
    made.replace_stored({"openai": StoredProvider("openai", priority=1)})
    assert made.get("groq") is groq
    assert made.get("openai") is not openai
    assert made.get("openai").health is openai.health


async def test_a_call_carries_the_key_and_the_providers_own_headers():
    async with MockUpstream() as server:
        row = StoredProvider("own", base_url=server.url, api_key="secret-key", headers={"X-Org": "acme"})
        provider = table(None, [row]).get("own")
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        response = await provider.send(
            b"/chat/completions",
            orjson.dumps(body),
            body,
            stream=False,
            headers=[(b"openai-beta", b"x")],
            connect_timeout_s=5,
        )
        assert response.status == 200
        headers = server.calls[0].headers
        assert (server.calls[0].key, headers["x-org"], headers["openai-beta"]) == ("secret-key", "acme", "x")
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("auth", "name", "value"), [("header", "api-key", "k"), ("bearer", "authorization", "Bearer k")]
)
async def test_the_key_is_sent_as_the_provider_wants_it(auth, name, value):
    async with MockUpstream() as server:
        provider = table(None, [StoredProvider("own", base_url=server.url, api_key="k", auth=auth)]).get("own")
        assert (await check_models(provider)).ok
        headers = server.calls[0].headers
        assert headers[name] == value
        assert len({"api-key", "authorization"} & set(headers)) == 1


async def test_a_check_reads_the_providers_models():
    async with MockUpstream() as server:
        made = table(None, [StoredProvider("own", base_url=server.url, auth="none")])
        result = await check_models(made.get("own"))
        assert (result.ok, result.http_status, result.models) == (True, 200, ("mock-large", "mock-small"))
        made.take_listed("own", ("mock-large",), 1)
        assert labels(made, "mock-large") == ["own/mock-large"]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (status(401, "bad key"), "status 401: bad key"),
        (html(502), "Bad gateway"),
        (Reply(body=b"{}"), "not a list"),
        (Reply(body=b"[" * 10_000), "not a list"),
        (Reply(wire=b""), "closed"),
    ],
)
async def test_a_check_says_what_is_wrong(reply, said):
    async with MockUpstream() as server:
        server.script(reply)
        result = await check_models(table(None, [StoredProvider("own", base_url=server.url, auth="none")]).get("own"))
        assert not result.ok
        assert said in result.error


async def test_a_chat_check_asks_for_one_token():
    async with MockUpstream() as server:
        provider = table(None, [StoredProvider("own", base_url=server.url, auth="none")]).get("own")
        assert (await check_chat(provider, "mock-small")).ok
        assert server.calls[0].json()["max_tokens"] == 1


async def test_the_providers_own_lists_are_asked_for_behind_the_answer_and_at_most_every_ten_minutes():
    clock = FakeClock()
    async with MockUpstream() as server:
        made = table(None, [StoredProvider("own", base_url=server.url, auth="none")])
        made.model_lists = lists = ModelLists(made, clock)
        assert "own/mock-small" not in ids(listed(principal(), made))
        await lists.settled()
        assert "own/mock-small" in ids(listed(principal(), made))
        await lists.settled()
        assert len(server.calls) == 1
        clock.advance(601)
        listed(principal(), made)
        await lists.settled()
        assert len(server.calls) == 2


def principal(*models: str) -> Principal:
    return Principal(1, "proxy", frozenset({"proxy:call"}), models=models)


def ids(found: dict[str, Any]) -> list[str]:
    return [row["id"] for row in found["data"]]


def listed(who, providers):
    return models_list(who, Sources(providers, PriceTable()))


def test_the_models_of_a_key_are_those_of_usable_providers():
    assert "mock/gpt" in ids(listed(principal(), table()))
    assert all(name.startswith("mock/") for name in ids(listed(principal(), table())))
    found = ids(listed(principal(), table(OPENAI)))
    assert "openai/gpt-4o" in found and "mock/gpt" in found
    assert not any(name.startswith("groq/") for name in found)


def test_a_narrowed_key_sees_its_models_only():
    assert ids(listed(principal("mock/[gl]*"), table(OPENAI))) == ["mock/gpt", "mock/large"]
    assert ids(listed(principal("gpt-4o"), table(OPENAI))) == ["openai/gpt-4o"]


def test_one_model_is_found_by_its_bare_and_its_full_name():
    for name in ("gpt-4o", "openai/gpt-4o"):
        found = model_one(principal(), Sources(table(OPENAI), PriceTable()), name)
        assert (found["id"], found["object"], found["owned_by"]) == ("openai/gpt-4o", "model", "openai")
        assert found["stockyard"]["price_in_usd_per_mtok"] == 2.5


@pytest.mark.parametrize("name", ["gpt-4o", "groq/x", "nonsense", "mock/never", ""])
def test_a_model_that_the_key_does_not_have_is_not_found(name):
    with pytest.raises(StockyardError) as caught:
        model_one(principal("mock/*"), Sources(table(OPENAI), PriceTable()), name)
    assert caught.value.code == "model_not_found"
