"""azureshim over HTTP, with the official SDK."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest

from tests.mock_replies import Reply, status
from tests.mock_upstream import MockUpstream, until
from tests.modules.clients import key_of, said
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running
from tests.modules.openai_like import (
    HI,
    WEATHER,
    check_common,
    check_image,
    chunk,
    completion,
    sent,
    stream,
    streamed,
    text_of,
    whole,
)

__all__ = ["pytest_asyncio_loop_factories"]

RESOURCE_KEY = "azure-resource-key-1"
VERSION = "2024-10-21"
TAIL = "/azure"
SAFE = {"hate": {"filtered": False, "severity": "safe"}, "violence": {"filtered": False, "severity": "low"}}


@asynccontextmanager
async def azure(shim: dict[str, Any] | None = None, **modules: Any) -> AsyncIterator[Running]:
    """One resource with the deployment `my-4o` of gpt-4o; `shim` is laid over azureshim's settings."""
    async with running({"retry": False, "paramnorm": False}) as s:
        endpoint = s.mock.root + TAIL
        resource = {"name": "east", "endpoint": endpoint, "api_key": RESOURCE_KEY, "deployments": {"gpt-4o": "my-4o"}}
        await s.configure({"azureshim": {"resources": [resource], **(shim or {})}, **modules})
        s.model = "azure/gpt-4o"
        yield s


async def test_text_tools_streams_and_errors() -> None:
    async with azure() as s:
        await check_common(s)


async def test_an_image_reaches_the_provider() -> None:
    async with azure() as s:
        await check_image(s)


async def test_a_model_reaches_its_deployment_with_the_resources_key() -> None:
    async with azure() as s:
        for model in ("azure/gpt-4o", "gpt-4o"):
            raw = await s.sdk().chat.completions.with_raw_response.create(model=model, messages=HI)
            call = s.mock.calls[-1]
            assert call.path == f"{TAIL}/openai/deployments/my-4o/chat/completions?api-version={VERSION}"
            assert call.headers["api-key"] == RESOURCE_KEY and "authorization" not in call.headers
            trace = await s.trace(raw.headers["x-stockyard-trace-id"])
            assert (trace["provider"], trace["model"]) == ("azure", "gpt-4o")
            assert trace["attempts"][0]["key_name"] == "east"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_clients_own_key_goes_before_the_resources(stream: bool) -> None:
    own = "key-of-acme-at-azure-01"
    clients = [{"id": "acme", "provider_keys": [{"provider": "azure", "api_key": own}]}]
    async with azure(tenantwall={"clients": clients}) as s:
        for key, expected in ((await key_of(s, "acme"), own), (s.key, RESOURCE_KEY)):
            await said(s, key, stream=stream)
            assert s.mock.calls[-1].headers["api-key"] == expected


async def test_the_v1_style_names_the_deployment_in_the_body() -> None:
    async with azure({"style": "v1"}) as s:
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert s.mock.calls[-1].path == f"{TAIL}/openai/v1/chat/completions"
        assert sent(s)["model"] == "my-4o"
    async with azure({"style": "v1", "api_version": "preview"}) as s:
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert s.mock.calls[-1].path == f"{TAIL}/openai/v1/chat/completions?api-version=preview"


async def test_a_stream_has_choices_in_every_chunk_but_the_usage_chunk() -> None:
    late = {"content_filter_offsets": {"check_offset": 0}, "content_filter_results": {"violence": {"filtered": False}}}
    prompt = [{"prompt_index": 0, "content_filter_results": SAFE}]
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    async with azure() as s:
        s.mock.script(
            stream(
                chunk(None, prompt_filter_results=prompt, id=""),
                chunk({"role": "assistant", "content": ""}, choice={"content_filter_results": {}}),
                chunk({"content": "a"}, choice={"content_filter_results": SAFE}),
                chunk({}, "stop", choice={"content_filter_results": {}}),
                chunk({}, choice=late),
                chunk(None, usage=usage),
            )
        )
        parts = await streamed(s, stream_options={"include_usage": True})
        assert [len(part.choices) for part in parts] == [1, 1, 1, 0]
        assert text_of(parts) == "a" and parts[-1].usage.total_tokens == 4
        last = parts[2]
        assert last.choices[0].finish_reason == "stop"
        assert last.model_extra["azure"] == {"prompt_filter_results": prompt}
        assert last.choices[0].delta.model_extra["azure"]["content_filter_results"] == {
            **SAFE,
            "violence": {"filtered": False},
        }
        assert not any("content_filter_results" in (c.model_extra or {}) for part in parts for c in part.choices)


async def test_what_the_filter_said_of_a_whole_answer_stands_under_azure() -> None:
    prompt = [{"prompt_index": 0, "content_filter_results": SAFE}]
    async with azure() as s:
        s.mock.script(whole(completion("a", choice={"content_filter_results": SAFE}, prompt_filter_results=prompt)))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.model_extra is not None and answer.model_extra["azure"] == {"prompt_filter_results": prompt}
        extra = answer.choices[0].message.model_extra
        assert extra is not None and extra["azure"] == {"content_filter_results": SAFE}


async def test_a_refusal_of_the_filter_names_the_categories() -> None:
    error = {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {
                "hate": {"filtered": False, "severity": "safe"},
                "violence": {"filtered": True, "severity": "high"},
                "jailbreak": {"filtered": True, "detected": True},
            },
        },
    }
    async with azure() as s:
        s.mock.script(whole({"error": error}, 400))
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert caught.value.code == "content_filter"
        assert "violence (high), jailbreak" in caught.value.message and "hate" not in caught.value.message


async def test_an_unknown_deployment_is_a_404_that_names_the_configured_ones() -> None:
    async with azure() as s:
        error = {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}
        s.mock.script(whole({"error": error}, 404))
        with pytest.raises(openai.NotFoundError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert "my-4o" in caught.value.message
        with pytest.raises(openai.NotFoundError) as missing:
            await s.sdk().chat.completions.create(model="azure/gpt-4.1", messages=HI)
        assert missing.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2024-02-01", {"max_tokens": 5}),
        ("2024-10-21", {"max_completion_tokens": 5, "stream_options": {"include_usage": True}}),
        (
            "2025-04-01-preview",
            {"max_completion_tokens": 5, "stream_options": {"include_usage": True}, "reasoning_effort": "low"},
        ),
    ],
)
async def test_a_version_gets_what_it_knows(version: Any, expected: Any) -> None:
    async with azure({"api_version": version}) as s:
        await streamed(s, max_completion_tokens=5, reasoning_effort="low")
        known = ("max_tokens", "max_completion_tokens", "stream_options", "reasoning_effort")
        assert {name: sent(s)[name] for name in known if name in sent(s)} == expected
        assert s.mock.calls[-1].path.endswith(f"api-version={version}")


async def test_several_resources_are_several_targets() -> None:
    async with azure() as s:
        endpoints = {"east": s.mock.root + TAIL, "west": s.mock.root.replace("127.0.0.1", "localhost") + TAIL}
        resources = [
            {
                "name": name,
                "endpoint": url,
                "api_key": f"key-of-{name}",
                "deployments": {"gpt-4o": f"{name}-4o"},
                "region": name,
            }
            for name, url in endpoints.items()
        ]
        await s.configure({"azureshim": {"resources": resources}, "loadbalancer": {}, "fallbackrouter": {}})
        targets = s.instance.chute.providers.resolve("azure/gpt-4o")
        assert [(target.region, target.url.text if target.url else "") for target in targets] == list(endpoints.items())
        s.mock.script(status(500, "down"))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.choices[0].message.content == "echo: hi"
        first, second = list(s.mock.calls)[-2:]
        assert {first.path.split("/")[4], second.path.split("/")[4]} == {"east-4o", "west-4o"}
        for call in (first, second):
            assert call.headers["api-key"] == f"key-of-{call.path.split('/')[4].removesuffix('-4o')}"


ENTRA = {"tenant": "t-1", "client_id": "c-1", "secret": "client-secret-1234"}


def granted(token: str, seconds: int = 3600) -> Reply:
    return whole({"token_type": "Bearer", "expires_in": seconds, "access_token": token})


async def test_entra_tokens_are_kept_and_renewed_early() -> None:
    async with azure() as s, MockUpstream() as login:
        resource = {
            "name": "east",
            "endpoint": s.mock.root + TAIL,
            "entra": {**ENTRA, "authority": login.root},
            "deployments": {"gpt-4o": "my-4o"},
        }
        await s.configure({"azureshim": {"resources": [resource]}})
        login.script(granted("token-one", 400), granted("token-two"))
        for _ in range(2):
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
            assert s.mock.calls[-1].headers["authorization"] == "Bearer token-one"
            assert "api-key" not in s.mock.calls[-1].headers
        assert [call.path for call in login.calls] == ["/t-1/oauth2/v2.0/token"]
        form = login.calls[0].body.decode()
        assert "grant_type=client_credentials" in form and "client_secret=client-secret-1234" in form
        token = s.module("azureshim")._tokens["east"]
        token._expires_ns -= 101 * 10**9
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert s.mock.calls[-1].headers["authorization"] == "Bearer token-two"
        await s.configure({"azureshim": {"resources": [resource], "reasoning": "hide"}})
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert len(login.calls) == 2


async def test_without_a_token_the_call_is_refused_with_what_entra_said() -> None:
    async with azure() as s, MockUpstream() as login:
        entra = {**ENTRA, "authority": login.root}
        resource = {"name": "east", "endpoint": s.mock.root + TAIL, "entra": entra, "deployments": {"gpt-4o": "my-4o"}}
        await s.configure({"azureshim": {"resources": [resource]}})
        login.script(
            whole({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret"}, 401)
        )
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert caught.value.code == "provider_auth_failed" and "AADSTS7000215" in caught.value.message
        assert list(s.mock.calls) == []


async def test_secrets_of_the_settings_are_never_shown() -> None:
    async with azure() as s:
        shown = (await s.http(s.admin_key).get("/api/proxy/modules/azureshim")).text
        assert RESOURCE_KEY not in shown and "my-4o" in shown
        changed = {"enabled": True, "config": orjson.loads(shown)["config"]}
        answer = await s.http(s.admin_key).put("/api/proxy/modules/azureshim", json=changed)
        assert answer.status_code == 200
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert s.mock.calls[-1].headers["api-key"] == RESOURCE_KEY


async def test_keys_of_resources_are_known_for_redaction_while_the_shim_has_them() -> None:
    async with azure() as s:
        table = s.instance.chute.providers
        assert RESOURCE_KEY in table.key_texts
        await s.configure({"azureshim": False})
        await until(lambda: RESOURCE_KEY not in table.key_texts)
        assert not table.get("azure").usable


async def test_a_provider_with_an_address_of_its_own_needs_no_resources() -> None:
    def toml(mock: MockUpstream) -> str:
        return f'[providers.azure]\nbase_url = "{mock.root}{TAIL}"\napi_key = "key-of-the-provider"\n'

    async with running({"retry": False, "paramnorm": False}, providers=toml) as s:
        await s.sdk().chat.completions.create(model="azure/my-4o", messages=HI, tools=[WEATHER])
        call = s.mock.calls[-1]
        assert call.path == f"{TAIL}/openai/deployments/my-4o/chat/completions?api-version={VERSION}"
        assert call.headers["api-key"] == "key-of-the-provider"
        s.mock.script(
            whole({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m"})
        )
        await s.sdk().embeddings.create(model="azure/my-embed", input="a", encoding_format="float")
        assert s.mock.calls[-1].path == f"{TAIL}/openai/deployments/my-embed/embeddings?api-version={VERSION}"
        assert s.mock.calls[-1].headers["api-key"] == "key-of-the-provider"


async def test_a_route_to_azure_reaches_the_resource_in_its_region() -> None:
    async with azure() as s:
        url = s.mock.root + TAIL
        resources = [
            {
                "name": name,
                "endpoint": url,
                "api_key": f"key-of-{name}",
                "deployments": {"gpt-4o": f"{name}-4o"},
                "region": name,
            }
            for name in ("east", "west")
        ]
        await s.configure({"azureshim": {"resources": resources}})
        route = {"pattern": "fast", "targets": [{"target": "azure/gpt-4o", "region": "west"}]}
        made = await s.http(s.admin_key).post("/api/proxy/routes", json=route)
        assert made.status_code == 201, made.text
        await s.sdk().chat.completions.create(model="fast", messages=HI)
        assert s.mock.calls[-1].path.startswith(f"{TAIL}/openai/deployments/west-4o/")
        assert s.mock.calls[-1].headers["api-key"] == "key-of-west"
        checked = {"chat": True, "model": "gpt-4o"}
        answer = (await s.http(s.admin_key).post("/api/proxy/providers/azure/check", json=checked)).json()
        assert answer["ok"], answer
        assert s.mock.calls[-1].path.startswith(f"{TAIL}/openai/deployments/east-4o/")


async def test_responses_go_as_they_came_in_the_v1_style_and_as_chat_in_the_classic() -> None:
    async with azure({"style": "v1"}) as s:
        answer = await s.sdk().responses.create(model=s.model, input="hi")
        assert answer.output_text == "echo: hi"
        assert s.mock.calls[-1].path == f"{TAIL}/openai/v1/responses" and sent(s)["model"] == "my-4o"
    async with azure() as s:
        answer = await s.sdk().responses.create(model=s.model, input="hi")
        assert answer.output_text == "echo: hi"
        assert "/deployments/my-4o/chat/completions" in s.mock.calls[-1].path
