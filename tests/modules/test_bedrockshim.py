"""bedrockshim through HTTP: the mock checks signatures, schemas and the order of the conversation."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import orjson
import pytest

from instance.chute.aws_credentials import RoleCredentials
from instance.chute.modules.shims.bedrockshim import BedrockShim
from instance.chute.targets import Target
from instance.chute.upstream import UpstreamUrl
from instance.core.errors import StockyardError
from instance.mock_upstream.event_stream import corrupted
from tests.chute.loopback import Asked, answering
from tests.mock_replies import Reply, failing, status, text, thinking, tools
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

MODEL = "anthropic.claude-3-7-sonnet-20250219-v1:0"
NAMED = f"aws/{MODEL}"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": SECRET}
PNG = base64.b64encode(bytes.fromhex("89504e470d0a1a0a") + b"\0" * 60).decode()
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def aws(mock: MockUpstream) -> str:
    return f'[providers.aws]\ntype = "bedrock"\nbase_url = "{mock.at("bedrock")}"\nmodels = ["{MODEL}"]\n'


@asynccontextmanager
async def opened(settings: Any = None, **modules: Any) -> AsyncIterator[Running]:
    async with running(modules={"bedrockshim": settings or KEYS, **modules}, providers=aws) as s:
        s.model = NAMED
        yield s


def asked(content: Any, **more: Any) -> Any:
    return {"model": NAMED, "messages": [{"role": "user", "content": content}], **more}


def sent(s: Running) -> Any:
    return orjson.loads(s.mock.calls[-1].body)


async def test_the_signature_of_a_model_id_with_a_colon_holds() -> None:
    async with opened() as s:
        answer = await s.sdk().chat.completions.create(**asked("hi"))
        assert answer.choices[0].message.content == "echo: hi"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        call = s.mock.calls[-1]
        assert call.path == f"/bedrock/model/{MODEL.replace(':', '%3A')}/converse"
        assert call.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/us-east-1/bedrock/aws4_request" in call.headers["authorization"]


async def test_a_wrong_secret_is_refused_by_the_provider_and_not_shown() -> None:
    async with opened({"access_key": "AKIDEXAMPLE", "secret_key": "mistyped-secret"}, retry=False) as s:
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().chat.completions.create(**asked("hi"))
        assert caught.value.code == "provider_auth_failed"
        assert "mistyped-secret" not in caught.value.response.text


async def test_an_api_key_is_a_bearer_and_no_signature() -> None:
    async with opened({"api_key": "bedrock-api-key-1"}) as s:
        await s.sdk().chat.completions.create(**asked("hi"))
        assert s.mock.calls[-1].headers["authorization"] == "Bearer bedrock-api-key-1"
        assert "x-amz-date" not in s.mock.calls[-1].headers


async def test_without_credentials_the_error_says_where_they_are_given() -> None:
    async with opened({"region": "eu-west-1"}) as s:
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().chat.completions.create(**asked("hi"))
        assert caught.value.status_code == 503
        assert not s.mock.calls


async def test_a_stream_says_what_the_plain_answer_says_cut_at_any_byte() -> None:
    async with opened() as s:
        plain = await s.sdk().chat.completions.create(**asked("one two three"))
        for size in (1, 7, 4096):
            s.mock.script(Reply(slice_bytes=size))
            stream = await s.sdk().chat.completions.create(
                **asked("one two three"), stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert said == plain.choices[0].message.content
            assert chunks[-1].usage == plain.usage
            assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
        assert s.mock.calls[-1].path.endswith("/converse-stream")


async def test_a_frame_with_a_bad_checksum_is_an_error_event_not_garbage() -> None:
    async with opened(retry=False) as s:
        s.mock.script(text("one two three four", mangle=lambda n, data: corrupted(data) if n == 4 else data))
        stream = await s.sdk().chat.completions.create(**asked("x"), stream=True)
        said = ""
        with pytest.raises(openai.APIError):
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
        assert "one two three four".startswith(said.strip())


async def test_an_exception_frame_is_an_error_event() -> None:
    async with opened(retry=False) as s:
        s.mock.script(failing(after=2, code=429, message="too fast"))
        stream = await s.sdk().chat.completions.create(**asked("one two three four"), stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for _ in stream:
                pass
        assert "too fast" in str(caught.value)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_round_of_parallel_tools(streamed: bool) -> None:
    async with opened() as s:
        s.mock.script(tools(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})), text("sunny"))
        first = asked("weather?", tools=[TOOL])
        if streamed:
            calls: dict[int, Any] = {}
            async for chunk in await s.sdk().chat.completions.create(**first, stream=True):
                for piece in chunk.choices[0].delta.tool_calls or () if chunk.choices else ():
                    assert piece.function is not None
                    if piece.id:
                        calls[piece.index] = {"id": piece.id, "name": piece.function.name, "arguments": ""}
                    calls[piece.index]["arguments"] += piece.function.arguments or ""
            found = list(calls.values())
        else:
            message = (await s.sdk().chat.completions.create(**first)).choices[0].message
            found = [
                {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
                for call in message.tool_calls or ()
            ]
        assert [orjson.loads(call["arguments"])["city"] for call in found] == ["Oslo", "Rome"]
        made = [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
            for c in found
        ]
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "22"} for call in found]
        # The tools are not offered again: the history alone has them.
        second = asked("weather?")
        second["messages"] += [{"role": "assistant", "content": None, "tool_calls": made}, *results]
        assert (await s.sdk().chat.completions.create(**second)).choices[0].message.content == "sunny"
        assert sent(s)["toolConfig"]["tools"][0]["toolSpec"]["name"] == "get_weather"


async def test_an_image() -> None:
    async with opened() as s:
        content = [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ]
        answer = await s.sdk().chat.completions.create(**asked(content))
        assert "image/png 68 bytes" in (answer.choices[0].message.content or "")


async def test_thinking_comes_signed_and_goes_back() -> None:
    async with opened() as s:
        s.mock.script(thinking("let me see", "done"), text("again"))
        first = asked("why?", reasoning_effort="low")
        message = (await s.sdk().chat.completions.create(**first)).choices[0].message.model_dump(exclude_none=True)
        assert message["reasoning_content"] == "let me see"
        assert message["reasoning_details"][0]["signature"]
        assert sent(s)["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 2048
        first["messages"] += [message, {"role": "user", "content": "and?"}]
        assert (await s.sdk().chat.completions.create(**first)).choices[0].message.content == "again"


@pytest.mark.parametrize(
    ("code", "kind", "raised"),
    [
        (400, "", openai.BadRequestError),
        (403, "AccessDeniedException", openai.PermissionDeniedError),
        (429, "", openai.RateLimitError),
        (429, "ModelNotReadyException", openai.InternalServerError),
        (500, "", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_providers_error_is_the_sdks_own(
    code: int, kind: str, raised: type[openai.APIStatusError], streamed: bool
) -> None:
    async with opened(retry=False) as s:
        s.mock.script(status(code, "not today", kind=kind or None))
        with pytest.raises(raised) as caught:
            await s.sdk().chat.completions.create(**asked("x"), stream=streamed)
        assert "not today" in str(caught.value)
        if kind == "AccessDeniedException":
            assert "must be enabled" in str(caught.value)
        if kind == "ModelNotReadyException":
            assert caught.value.status_code == 503


async def test_a_guardrail_that_intervened_is_a_content_filter() -> None:
    async with opened({**KEYS, "guardrail_id": "gr1", "guardrail_version": "3"}) as s:
        s.mock.script(text("Sorry.", finish="guardrail_intervened"))
        answer = await s.sdk().chat.completions.create(**asked("x"))
        assert answer.choices[0].finish_reason == "content_filter"
        assert sent(s)["guardrailConfig"] == {"guardrailIdentifier": "gr1", "guardrailVersion": "3"}


async def test_a_profile_the_upstream_id_and_the_trail() -> None:
    async with opened({**KEYS, "profile_prefix": "us"}) as s:
        answer = await s.chat("hi", seed=4)
        assert answer.status_code == 200, answer.text
        assert s.mock.calls[-1].path.startswith("/bedrock/model/us.anthropic.claude")
        assert answer.headers["x-stockyard-upstream-id"].startswith("00000000-")
        trace_id = answer.headers["x-stockyard-trace-id"]
        assert await s.trail(trace_id, "bedrockshim") == [("shim", {"dialect": "bedrock", "dropped": ["seed"]})]
        trace = await s.trace(trace_id)
        assert trace["dialect_out"] == "bedrock.converse"
        assert trace["provider"] == "aws"
        assert trace["attempts"][0]["status"] == 200


async def test_an_unsupported_field_is_refused_where_that_is_set() -> None:
    async with opened({**KEYS, "on_unsupported": "reject"}) as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(**asked("x", seed=1))
        assert caught.value.param == "seed"
        assert not s.mock.calls


async def test_secrets_of_the_settings_are_shown_masked() -> None:
    async with opened() as s:
        http = s.http(s.admin_key)
        shown = await http.get("/api/proxy/modules/bedrockshim")
        assert SECRET not in shown.text
        assert shown.status_code == 200


async def test_the_machines_role_signs_calls_with_its_sessions_token() -> None:
    def answer(asked: Asked) -> tuple[int, bytes]:
        if asked.method == "PUT":
            return 200, b"token"
        if asked.path.endswith("/security-credentials/"):
            return 200, b"role"
        return 200, b'{"AccessKeyId": "ASIAROLE", "SecretAccessKey": "of-role", "Token": "session-1"}'

    async with opened({"use_instance_role": True}) as s, answering(answer) as (url, metadata):
        s.mock.aws_keys["ASIAROLE"] = "of-role"
        module = s.module("bedrockshim")
        module._role = RoleCredentials({}, module._clock, instance_url=url)
        for _ in range(2):
            assert (await s.sdk().chat.completions.create(**asked("hi"))).choices[0].message.content == "echo: hi"
        assert s.mock.calls[-1].headers["x-amz-security-token"] == "session-1"
        assert len(metadata) == 3, "asked once for both calls"


async def test_a_hosted_instance_has_no_role() -> None:
    module = BedrockShim(BedrockShim.Settings(use_instance_role=True))
    hosted: Any = SimpleNamespace(hosted=object())
    with pytest.raises(StockyardError) as caught:
        await module.start(hosted, None)
    assert caught.value.param == "config.use_instance_role"


async def test_the_region_of_the_target_and_of_the_settings_are_called_and_signed_for() -> None:
    def url_for(of_target: str, base_url: str, **settings: Any) -> str:
        module = BedrockShim(BedrockShim.Settings(**settings))
        provider: Any = SimpleNamespace(url=UpstreamUrl.parse(base_url), region=of_target, name="aws")
        found = module._url(Target(provider, MODEL))
        assert found is not None
        return found.text

    amazon = "https://bedrock-runtime.us-east-1.amazonaws.com"
    assert url_for("", amazon) == amazon
    assert url_for("eu-central-1", amazon) == "https://bedrock-runtime.eu-central-1.amazonaws.com"
    assert url_for("", amazon, region="us-west-2") == "https://bedrock-runtime.us-west-2.amazonaws.com"
    assert url_for("eu", amazon) == amazon, "a label of one's own is no region of Amazon's"
    assert url_for("eu-central-1", "https://vpce.example/x") == "https://vpce.example/x"

    module = BedrockShim(BedrockShim.Settings())
    provider: Any = SimpleNamespace(url=UpstreamUrl.parse(amazon), region="", name="aws")
    for address, of_target, signed in (
        ("https://vpce.example", "eu-central-1", "eu-central-1"),
        ("https://vpce.example", "", "us-east-1"),
        ("https://bedrock-runtime.us-west-2.amazonaws.com", "eu-central-1", "us-west-2"),
    ):
        target = Target(provider, MODEL, of_target, UpstreamUrl.parse(address))
        assert module._url(target).text == address
        assert module._region(target, module._url(target)) == signed


async def test_a_call_of_the_anthropic_sdk_thinks_and_goes_on_at_bedrock() -> None:
    async with opened() as s:
        client = anthropic.AsyncAnthropic(base_url=s.root, api_key=s.key, max_retries=0, timeout=30.0)
        s.mock.script(thinking("let me see", "done"), text("again"))
        fields: Any = {
            "model": NAMED,
            "max_tokens": 5000,
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "messages": [{"role": "user", "content": "why?"}],
        }
        async with client.messages.stream(**fields) as stream:
            message = await stream.get_final_message()
        blocks = [block.model_dump(exclude_none=True) for block in message.content]
        assert blocks[0]["type"] == "thinking"
        assert not blocks[0]["signature"].startswith("stockyard."), "Claude's own signature holds at both"
        fields["messages"] += [{"role": "assistant", "content": blocks}, {"role": "user", "content": "and?"}]
        again = await client.messages.create(**fields)
        assert [block.text for block in again.content if block.type == "text"] == ["again"]
        thought = sent(s)["messages"][1]["content"][0]["reasoningContent"]["reasoningText"]
        assert thought["text"] == "let me see"
        assert sent(s)["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 2000}
        await client.close()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_that_says_the_secret_is_not_passed_on(streamed: bool) -> None:
    async with opened() as s:
        s.mock.script(text(f"the secret is {SECRET} indeed"))
        answer = await s.chat("x", stream=streamed)
        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert SECRET[:30] not in answer.text
        assert "indeed" in answer.text
