"""What a provider would refuse is refused, and the field is named."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.mock_upstream import MockUpstream
from tests.mock_upstream.talk import DIALECTS, SCHEMA

USER = {"role": "user", "content": "hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def refusal(name: str, changes: dict[str, Any], status: int, words: str) -> Any:
    return pytest.param(name, changes, status, words, id=f"{name}-{words[:30]}")


REFUSED = [
    refusal("openai", {"temperature": 2.5}, 400, "temperature"),
    refusal("openai", {"temperature": "hot"}, 400, "Invalid type for 'temperature'"),
    refusal("openai", {"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
    refusal("openai", {"messages": [{"role": "user"}]}, 400, "messages[0].content"),
    refusal("openai", {"messages": [{**USER, "reasoning_content": "x"}]}, 400, "messages[0].reasoning_content"),
    refusal("openai", {"messages": [USER, CALLED, USER]}, 400, "did not have response messages: call_1"),
    refusal("openai", {"messages": [USER, {"role": "assistant", "content": None}]}, 400, "messages[1].content"),
    refusal("openai", {"stream_options": {"include_usage": True}}, 400, "stream_options"),
    refusal("openai", {"tool_choice": "required"}, 400, "tool_choice"),
    refusal("openai", {"tools": [{"type": "function", "function": {"name": "a b"}}]}, 400, "tools[0].function.name"),
    refusal("compatible", {"n": 0}, 400, "'n'"),
    refusal("compatible", {"messages": "hi"}, 400, "messages"),
    refusal("anthropic", {"max_tokens": 0}, 400, "max_tokens: "),
    refusal("anthropic", {"temperature": 1.5}, 400, "temperature: "),
    refusal("anthropic", {"messages": [{"role": "system", "content": "x"}]}, 400, "messages.0.role"),
    refusal("anthropic", {"messages": [{"role": "assistant", "content": "x"}]}, 400, "first message must use"),
    refusal("anthropic", {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, 400, "text: "),
    refusal("anthropic", {"thinking": {"type": "enabled", "budget_tokens": 4000}}, 400, "must be greater than"),
    refusal(
        "anthropic",
        {
            "messages": [
                USER,
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]},
                USER,
            ]
        },
        400,
        "`tool_use` ids were found without `tool_result`",
    ),
    refusal(
        "anthropic",
        {
            "messages": [
                USER,
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "forged"}]},
                USER,
            ]
        },
        400,
        "Invalid `signature`",
    ),
    refusal(
        "anthropic",
        {
            "system": [
                {"type": "text", "text": str(number), "cache_control": {"type": "ephemeral"}} for number in range(5)
            ]
        },
        400,
        "maximum of 4 blocks",
    ),
    refusal("gemini", {"generationConfig": {"maxTokens": 5}}, 400, 'Unknown name \\"maxTokens\\"'),
    refusal(
        "gemini",
        {
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}},
            }
        },
        400,
        'Unknown name \\"$ref\\"',
    ),
    refusal(
        "gemini",
        {
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": {"type": ["string", "null"]},
            }
        },
        400,
        "generationConfig.responseSchema.type",
    ),
    refusal("gemini", {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, 400, "contents[0].role"),
    refusal(
        "gemini",
        {
            "contents": [
                {"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
                {"role": "user", "parts": [{"text": "no result"}]},
            ]
        },
        400,
        "number of function response parts is equal",
    ),
    refusal("bedrock", {"inferenceConfig": {"maxTokens": "9"}}, 400, "inferenceConfig.maxTokens"),
    refusal("bedrock", {"messages": [{"role": "user", "content": [{"text": " "}]}]}, 400, "is blank"),
    refusal(
        "bedrock",
        {"messages": [{"role": "user", "content": [{"text": "a"}]}, {"role": "user", "content": [{"text": "b"}]}]},
        400,
        "must alternate",
    ),
    refusal(
        "bedrock",
        {
            "messages": [
                {"role": "user", "content": [{"text": "a"}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "1", "name": "f", "input": {}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": [{"text": "x"}]}}]},
            ]
        },
        400,
        "toolConfig field must be defined",
    ),
    refusal("cohere", {"top_p": 0.5}, 422, "top_p"),
    refusal("cohere", {"p": 1.5}, 400, "p: "),
    refusal("cohere", {"messages": [USER, {"role": "tool", "tool_call_id": "x", "content": "y"}]}, 400, "no tool call"),
    refusal("ollama", {"temperature": 1}, 400, "temperature"),
    refusal("ollama", {"options": {"num_ctx": "big"}}, 400, "options.num_ctx"),
    refusal("ollama", {"model": "missing"}, 404, "model 'missing' not found"),
    refusal("azure", {"temperature": 3}, 400, "temperature"),
    refusal("mistral", {"logit_bias": {}}, 422, "logit_bias"),
    refusal("mistral", {"messages": [USER, CALLED]}, 400, "Tool call id was call_1"),
    refusal("mistral", {"messages": [{"role": "assistant", "content": "x"}]}, 400, "Expected last role User or Tool"),
    refusal("groq", {"logprobs": True}, 400, "property 'logprobs' is unsupported"),
    refusal("groq", {"n": 2}, 400, "'n'"),
    refusal("groq", {"messages": [{**USER, "name": "jo"}]}, 400, "messages[0].name"),
    refusal("together", {"model": "llama"}, 404, "Unable to access model llama"),
    refusal("together", {"logprobs": True}, 422, "logprobs"),
    refusal("deepseek", {"response_format": {"type": "json_object"}}, 400, "the word 'json'"),
    refusal("deepseek", {"n": 2}, 422, "n: "),
    refusal(
        "deepseek",
        {"messages": [USER, {"role": "assistant", "content": "x", "reasoning_content": "hm"}, USER]},
        400,
        "reasoning_content",
    ),
    refusal("deepseek", {"messages": [USER, {"role": "assistant", "content": "x", "prefix": True}]}, 400, "beta"),
    refusal("fireworks", {"model": "llama"}, 404, "Model not found"),
    refusal("perplexity", {"tools": []}, 400, "tools"),
    refusal("perplexity", {"messages": [USER, USER]}, 400, "alternating"),
]


@pytest.mark.parametrize(("name", "changes", "status", "words"), REFUSED)
async def test_a_refusal_names_what_is_wrong(
    name: str, changes: dict[str, Any], status: int, words: str, http: httpx2.AsyncClient
) -> None:
    dialect = DIALECTS[name]
    body = {**dialect.body("hi", False), **changes}
    answer = await http.post(dialect.path, json=body, headers=dialect.headers)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text


ACCEPTED = [
    ("openai", {"messages": [USER, CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "x"}]}),
    ("openai", {"max_completion_tokens": 5, "reasoning_effort": "low", "metadata": {"a": "b"}, "stop": ["x"]}),
    ("anthropic", {"system": "be brief", "top_k": 3, "stop_sequences": ["x"], "metadata": {"user_id": "u"}}),
    ("gemini", {"system_instruction": {"parts": [{"text": "x"}]}, "generation_config": {"max_output_tokens": 5}}),
    ("bedrock", {"system": [{"text": "x"}], "inferenceConfig": {"maxTokens": 5, "temperature": 0}}),
    ("cohere", {"p": 0.5, "k": 3, "documents": ["a", {"data": {"text": "b"}}]}),
    ("ollama", {"options": {"num_ctx": 8192, "temperature": 0.5}, "keep_alive": "5m", "format": SCHEMA}),
    ("mistral", {"random_seed": 1, "safe_prompt": True, "tool_choice": "any"}),
    ("groq", {"reasoning_format": "parsed", "service_tier": "flex"}),
    ("together", {"logprobs": 1, "min_p": 0.1, "response_format": {"type": "json_schema", "schema": SCHEMA}}),
    ("deepseek", {"messages": [{"role": "user", "content": "say json"}], "response_format": {"type": "json_object"}}),
    ("fireworks", {"context_length_exceeded_behavior": "error", "top_k": 5, "n": 2}),
    ("perplexity", {"search_mode": "academic", "web_search_options": {"search_context_size": "low"}}),
]


@pytest.mark.parametrize(("name", "changes"), ACCEPTED)
async def test_what_the_provider_documents_is_taken(
    name: str, changes: dict[str, Any], http: httpx2.AsyncClient
) -> None:
    dialect = DIALECTS[name]
    body = {**dialect.body("hi", False), **changes}
    answer = await http.post(dialect.path, json=body, headers=dialect.headers)
    assert answer.status_code == 200, answer.text


async def test_a_mock_that_is_not_strict_takes_anything() -> None:
    async with MockUpstream(strict=False) as upstream, httpx2.AsyncClient(base_url=upstream.root) as http:
        answer = await http.post("/openai/v1/chat/completions", json={"messages": [], "temperature": "hot"})
        assert answer.status_code == 200


async def test_gemini_3_wants_its_thought_signatures_back(http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS["gemini"]
    path = "/gemini/v1beta/models/gemini-3-pro:generateContent"
    asked = dialect.body("call weather", True)
    made = (await http.post(path, json=asked, headers=dialect.headers)).json()["candidates"][0]["content"]
    result = {"functionResponse": {"name": "weather", "response": {"result": "sunny"}}}
    talk = {**asked, "contents": [*asked["contents"], made, {"role": "user", "parts": [result]}]}
    kept = await http.post(path, json=talk, headers=dialect.headers)
    assert kept.json()["candidates"][0]["content"]["parts"] == [{"text": "echo: call weather [result sunny]"}]
    made["parts"][0].pop("thoughtSignature")
    lost = await http.post(path, json=talk, headers=dialect.headers)
    assert lost.status_code == 400 and "thought_signature" in lost.text


async def test_azure_s_quirks(http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS["azure"]
    body = dialect.body("hi", False)
    base = "/azure/openai/deployments"
    assert (await http.post(f"{base}/four/chat/completions", json=body, headers=dialect.headers)).status_code == 404
    gone = await http.post(
        f"{base}/missing/chat/completions?api-version=2024-10-21", json=body, headers=dialect.headers
    )
    assert gone.json()["error"]["code"] == "DeploymentNotFound"
    old = await http.post(
        f"{base}/four/chat/completions?api-version=2024-02-01",
        json={**body, "max_completion_tokens": 5},
        headers=dialect.headers,
    )
    assert "max_completion_tokens" in old.json()["error"]["message"]
    path, streamed = dialect.streamed("hi")
    raw = (await http.post(path, json=streamed, headers=dialect.headers)).text
    assert raw.startswith('data: {"choices":[],') and "prompt_filter_results" in raw
    form = {"grant_type": "client_credentials", "client_id": "c", "client_secret": "s", "scope": "x"}
    token = await http.post("/azure/tenant-1/oauth2/v2.0/token", data=form)
    entra = {"authorization": f"Bearer {token.json()['access_token']}"}
    assert (await http.post(dialect.path, json=body, headers=entra)).status_code == 200


async def test_deepseek_sends_signs_of_life_first(http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS["deepseek"]
    assert (await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)).text[:3] == "\n\n{"
    path, body = dialect.streamed("hi")
    raw = (await http.post(path, json=body, headers=dialect.headers)).text
    assert raw.startswith(": keep-alive\n\n")


async def test_fireworks_cuts_a_long_prompt_unless_told_otherwise(http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS["fireworks"]
    body = dialect.body("word " * 9000, False)
    cut = dialect.read((await http.post(dialect.path, json=body, headers=dialect.headers)).json())
    assert (cut.text, cut.finish) == ("", "length")
    body["context_length_exceeded_behavior"] = "error"
    told = await http.post(dialect.path, json=body, headers=dialect.headers)
    assert (told.status_code, told.json()["error"]["code"]) == (400, "context_length_exceeded")
