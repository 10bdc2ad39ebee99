"""What only some providers have: predictions that take their time, models that are pulled, Anthropic's and Google's counts."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from instance.mock_upstream.instances import instance_of
from tests.mock_replies import Reply, blocked, stall, status, text, tool
from tests.mock_upstream import MockUpstream
from tests.mock_upstream.talk import DIALECTS, sse_data

TOKEN = {"authorization": "Bearer r8-key"}
LLAMA = "/replicate/v1/models/meta/llama-3/predictions"


async def predicted(http: httpx2.AsyncClient, given: dict[str, Any], **headers: str) -> Any:
    answer = await http.post(LLAMA, json={"input": given}, headers={**TOKEN, **headers})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_prediction_starts_goes_on_and_ends(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(text("one two three four"), text("kept for the next prediction"))
    made = await predicted(http, {"prompt": "hi"})
    seen = [(made["status"], made["output"])]
    for _ in range(3):
        shown = (await http.get(made["urls"]["get"], headers=TOKEN)).json()
        seen.append((shown["status"], shown["output"]))
    words = ["one ", "two ", "three ", "four"]
    assert seen == [("starting", None), ("processing", words[:2]), ("succeeded", words), ("succeeded", words)]
    assert shown["metrics"]["output_token_count"] == 4
    waited = await predicted(http, {"prompt": "hi"}, prefer="wait")
    assert ("".join(waited["output"]), waited["status"]) == ("kept for the next prediction", "succeeded")


async def test_a_prediction_can_fail_and_be_cancelled(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(Reply(finish="failed"))
    failed = await predicted(http, {"prompt": "hi"}, prefer="wait")
    assert (failed["status"], failed["output"]) == ("failed", None)
    assert failed["logs"].splitlines()[-1] == failed["error"]
    made = await predicted(http, {"prompt": "hi"})
    cancelled = await http.post(made["urls"]["cancel"], headers=TOKEN)
    assert cancelled.json()["status"] == "canceled"
    assert (await http.get(made["urls"]["get"], headers=TOKEN)).json()["status"] == "canceled"
    assert upstream.calls[-2].path.endswith("/cancel")


async def test_a_prediction_streams_from_a_url_of_its_own(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(text("one\ntwo three"))
    made = await predicted(http, {"prompt": "hi"})
    raw = (await http.get(made["urls"]["stream"], headers={"accept": "text/event-stream"})).text
    blocks = [block.split("\n") for block in raw.strip().split("\n\n")]
    output = [
        "\n".join(line[6:] for line in lines if line.startswith("data: "))
        for lines in blocks
        if lines[0] == "event: output"
    ]
    assert "".join(output) == "one\ntwo three"
    assert blocks[-1][0] == "event: done"
    assert (await http.get(made["urls"]["get"], headers=TOKEN)).json()["status"] == "succeeded"


async def test_what_stalls_a_prediction_s_stream_is_its_own_script(
    http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(stall(1, "one two"))
    made = await predicted(http, {"prompt": "hi"})
    async with http.stream("GET", made["urls"]["stream"]) as answer:
        async for block in answer.aiter_raw():
            assert b"one" in block
            break
    assert not upstream.calls[-1].answered


@pytest.mark.parametrize(
    "prompt",
    [
        "User: first\nAssistant: yes\nUser: last\nAssistant:",
        "[INST] first [/INST] yes [INST] last [/INST]",
        "<|im_start|>user\nlast<|im_end|>\n<|im_start|>assistant\n",
        "<|start_header_id|>user<|end_header_id|>\n\nlast<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<start_of_turn>user\nlast<end_of_turn>\n<start_of_turn>model\n",
    ],
)
async def test_the_last_turn_of_a_template_is_what_is_echoed(prompt: str, http: httpx2.AsyncClient) -> None:
    made = await predicted(http, {"prompt": prompt}, prefer="wait")
    assert "".join(made["output"]) == "echo: last"


async def test_inputs_that_a_model_does_not_publish_are_refused(http: httpx2.AsyncClient) -> None:
    answer = await http.post(LLAMA, json={"input": {"prompt": "hi", "frequency": 1}}, headers=TOKEN)
    assert (answer.status_code, answer.json()["invalid_fields"][0]["field"]) == (422, "input.frequency")
    shown = await http.get("/replicate/v1/models/meta/llama-3", headers=TOKEN)
    schema = shown.json()["latest_version"]["openapi_schema"]["components"]["schemas"]["Input"]
    assert "prompt" in schema["properties"] and "frequency" not in schema["properties"]


async def test_replicate_says_how_long_to_wait(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(status(429, "slow down", retry_after_s=9.5))
    answer = await http.post(LLAMA, json={"input": {"prompt": "hi"}}, headers=TOKEN)
    told = {"title": "Too many requests", "detail": "slow down", "status": 429, "retry_after": 10}
    assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (429, "10", told)


async def test_pictures_of_a_prediction_can_be_fetched(http: httpx2.AsyncClient) -> None:
    path = "/replicate/v1/models/black-forest-labs/flux-schnell/predictions"
    body = {"input": {"prompt": "a cow", "num_outputs": 2}}
    made = (await http.post(path, json=body, headers={**TOKEN, "prefer": "wait"})).json()
    assert len(made["output"]) == 2 and "stream" not in made["urls"]
    assert (await http.get(made["output"][1])).content.startswith(b"\x89PNG")


async def test_a_model_that_ollama_lacks_is_there_once_it_was_pulled(http: httpx2.AsyncClient) -> None:
    body = {**DIALECTS["ollama"].body("hi", False), "model": "missing:1b"}
    assert (await http.post("/ollama/api/chat", json=body)).status_code == 404
    lines = (await http.post("/ollama/api/pull", json={"model": "missing:1b"})).text.splitlines()
    assert lines[-1] == '{"status":"success"}' and '"completed":500' in lines[2]
    assert (await http.post("/ollama/api/chat", json=body)).status_code == 200
    names = [row["name"] for row in (await http.get("/ollama/api/tags")).json()["models"]]
    assert "missing:1b" in names


async def test_ollama_streams_unless_told_not_to(http: httpx2.AsyncClient) -> None:
    body = DIALECTS["ollama"].body("hi", False)
    body.pop("stream")
    answer = await http.post("/ollama/api/chat", json=body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert len(answer.text.splitlines()) == 3


async def test_tokens_are_counted(http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS["anthropic"]
    body = dialect.body("one two three", False)
    body.pop("max_tokens")
    counted = await http.post("/anthropic/v1/messages/count_tokens", json=body, headers=dialect.headers)
    assert counted.json() == {"input_tokens": 3}
    gemini = DIALECTS["gemini"]
    counted = await http.post(
        "/gemini/v1beta/models/m:countTokens", json=gemini.body("one two", False), headers=gemini.headers
    )
    assert counted.json() == {"totalTokens": 2}


async def test_gemini_embeds_one_text_or_several(http: httpx2.AsyncClient) -> None:
    headers = DIALECTS["gemini"].headers
    one = {"content": {"parts": [{"text": "a cow"}]}, "outputDimensionality": 4}
    single = await http.post("/gemini/v1beta/models/e:embedContent", json=one, headers=headers)
    body = {"requests": [{**one, "model": "models/e"}] * 2}
    both = await http.post("/gemini/v1beta/models/e:batchEmbedContents", json=body, headers=headers)
    assert [row["values"] for row in both.json()["embeddings"]] == [single.json()["embedding"]["values"]] * 2
    body["requests"][0]["model"] = "models/other"
    assert (
        await http.post("/gemini/v1beta/models/e:batchEmbedContents", json=body, headers=headers)
    ).status_code == 400


async def test_gemini_streams_an_array_without_alt_sse(http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS["gemini"]
    path = dialect.stream_path.removesuffix("?alt=sse")
    answer = await http.post(path, json=dialect.body("hi", False), headers=dialect.headers)
    assert len(answer.json()) == 2 and answer.json()[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_a_blocked_prompt_is_told_in_each_provider_s_way(
    http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    told = {}
    for name in ("gemini", "anthropic", "bedrock", "azure"):
        upstream.script(blocked("SAFETY"))
        dialect = DIALECTS[name]
        answer = await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
        told[name] = (answer.status_code, answer.json())
    assert told["gemini"][1]["promptFeedback"] == {"blockReason": "SAFETY"} and "candidates" not in told["gemini"][1]
    assert told["anthropic"][1]["stop_reason"] == "refusal"
    assert told["bedrock"][1]["stopReason"] == "guardrail_intervened"
    status, body = told["azure"]
    assert (status, body["error"]["innererror"]["code"]) == (400, "ResponsibleAIPolicyViolation")


async def test_perplexity_repeats_the_message_and_its_sources(http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS["perplexity"]
    path, body = dialect.streamed("one two")
    chunks = sse_data((await http.post(path, json=body, headers=dialect.headers)).content)
    assert [chunk["choices"][0]["message"]["content"] for chunk in chunks] == [
        "echo: ",
        "echo: one ",
        "echo: one two",
        "echo: one two",
    ]
    assert all(chunk["citations"] and chunk["usage"]["cost"]["total_cost"] for chunk in chunks)


def test_an_instance_fits_a_recursive_schema() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["name"],
    }
    made = instance_of({"$ref": "#/$defs/node", "$defs": {"node": node}})
    assert made["name"] == "mock"
    depth = 0
    while "next" in made:
        made, depth = made["next"], depth + 1
    assert 0 < depth < 12


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "number", "minimum": 0, "maximum": 0.5}, 0),
        ({"type": ["null", "boolean"]}, True),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7}, 7),
        ({"type": "string", "maxLength": 2}, "mo"),
        ({"type": "string", "minLength": 6}, "mockxx"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2}, [None, None]),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
    ],
)
def test_an_instance_fits_its_schema(schema: dict[str, Any], wanted: object) -> None:
    assert instance_of(schema) == wanted


TWINS = ("anthropic/v1", "gemini/v1beta/openai", "cohere/compatibility/v1", "ollama/v1", "bedrock/openai/v1")


@pytest.mark.parametrize("base", TWINS)
async def test_the_openai_compatible_part_of_a_provider_is_there(base: str, http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS["compatible"]
    answer = await http.post(
        f"/{base}/chat/completions", json=dialect.body("hi", False), headers={"authorization": "Bearer key-1"}
    )
    assert dialect.read(answer.json()).text == "echo: hi"


SOURCE = {"url": "https://example.net/cow", "title": "Cows", "text": "moo", "start": 0, "end": 3}


@pytest.mark.parametrize("name", ["compatible", "anthropic", "gemini", "cohere", "perplexity"])
async def test_sources_are_cited_whole_and_streamed(
    name: str, http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(*[text("moo they say", citations=[SOURCE])] * 2)
    dialect = DIALECTS[name]
    path, body = dialect.streamed("hi")
    whole = await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
    streamed = await http.post(path, json=body, headers=dialect.headers)
    assert "https://example.net/cow" in whole.text
    assert "https://example.net/cow" in streamed.text


async def test_a_scripted_status_may_have_a_good_body(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(Reply(text="odd", status=203))
    dialect = DIALECTS["compatible"]
    answer = await http.post(dialect.path, json=dialect.body("hi", False))
    assert (answer.status_code, dialect.read(answer.json()).text) == (203, "odd")


async def test_one_reply_can_be_scripted_twice(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    reply = Reply()
    upstream.script(reply, reply)
    dialect = DIALECTS["deepseek"]
    thinking = {**dialect.body("hi", False), "model": "deepseek-reasoner"}
    first = await http.post(dialect.path, json=thinking, headers=dialect.headers)
    second = await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
    assert (dialect.read(first.json()).reasoning, dialect.read(second.json()).reasoning) == ("mock thinking", "")


async def test_what_a_mock_that_does_not_check_cannot_read_is_a_500() -> None:
    async with MockUpstream(strict=False) as upstream, httpx2.AsyncClient(base_url=upstream.root) as http:
        answer = await http.post("/anthropic/v1/messages", json={"messages": "no list"})
        assert answer.status_code == 500 and "the mock itself failed" in answer.text


async def test_arguments_that_are_no_json_are_streamed_as_they_are(
    http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    for name in ("compatible", "anthropic", "bedrock", "cohere"):
        upstream.script(tool("weather", '{"city": "Os'))
        dialect = DIALECTS[name]
        path, body = dialect.streamed("hi", tools=True)
        raw = (await http.post(path, json=body, headers=dialect.headers)).content
        assert dialect.read_stream(raw).calls == [("weather", '{"city": "Os')]
