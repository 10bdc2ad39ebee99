from typing import Any

import orjson
import pytest

from instance.chute.dialects.bedrock.answer import read_answer
from instance.chute.dialects.bedrock.model_family import family, with_profile
from instance.chute.dialects.bedrock.request import Written, write_request
from instance.chute.dialects.data_url import Media

JSON = dict[str, Any]
CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0"
NEW_CLAUDE = "us.anthropic.claude-opus-4-7"
NOVA = "amazon.nova-pro-v1:0"
LLAMA = "meta.llama3-1-70b-instruct-v1:0"
PNG = "iVBORw0KGgo="
MARK = {"type": "ephemeral"}


def written(*messages: JSON, model: str = CLAUDE, **fields: Any) -> Written:
    return write_request({"messages": list(messages) or [user("hi")], **fields}, model, stream=False)


def user(content: Any) -> JSON:
    return {"role": "user", "content": content}


def tool(name: str, **more: Any) -> JSON:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}, **more}


CALLED: JSON = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b/+", "type": "function", "function": {"name": "g", "arguments": ""}},
    ],
}
RESULTS: list[JSON] = [
    {"role": "tool", "tool_call_id": "a", "content": "1"},
    {"role": "tool", "tool_call_id": "b/+", "content": "", "anthropic": {"is_error": True}},
]


def test_a_plain_question() -> None:
    made = written(
        {"role": "system", "content": "kind"}, user("hi"), max_tokens=5, temperature=1.5, top_p=0.5, stop="END", seed=1
    )
    assert made.path == "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse"
    assert made.body == {
        "system": [{"text": "kind"}],
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {"maxTokens": 5, "temperature": 1, "topP": 0.5, "stopSequences": ["END"]},
    }
    assert made.dropped == ["seed"]


def test_an_arns_slashes_and_colons_are_encoded_in_the_path() -> None:
    arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"
    path = write_request({"messages": [user("x")]}, arn, stream=True).path
    assert path == "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc/converse-stream"


def test_tools_are_declared_also_when_only_the_history_called_them() -> None:
    made = written(user("q"), CALLED, *RESULTS, user("so?"))
    assert [one["toolSpec"]["name"] for one in made.body["toolConfig"]["tools"]] == ["f", "g"]
    call, result = made.body["messages"][1]["content"], made.body["messages"][2]["content"]
    assert [block["toolUse"]["toolUseId"] for block in call] == [
        block["toolResult"]["toolUseId"] for block in result[:2]
    ]
    assert call[0]["toolUse"]["input"] == {"x": 1}
    assert result[0]["toolResult"]["content"] == [{"text": "1"}]
    assert result[1]["toolResult"]["status"] == "error"
    assert result[2] == {"text": "so?"}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [("auto", {"auto": {}}), ("required", {"any": {}}), ({"function": {"name": "f"}}, {"tool": {"name": "f"}})],
)
def test_tool_choice(choice: Any, sent: JSON) -> None:
    assert written(tools=[tool("f")], tool_choice=choice).body["toolConfig"]["toolChoice"] == sent


def test_no_tool_at_all_and_no_parallel_calls() -> None:
    assert "toolConfig" not in written(tools=[tool("f")], tool_choice="none").body
    kept = written(user("q"), CALLED, *RESULTS, tools=[tool("f")], tool_choice="none")
    assert "toolConfig" in kept.body
    assert kept.dropped == ["tool_choice"]
    one = written(tools=[tool("f")], tool_choice="required", parallel_tool_calls=False)
    assert one.body["additionalModelRequestFields"] == {
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True}
    }
    assert written(tools=[tool("f")], parallel_tool_calls=False, model=NOVA).dropped == ["parallel_tool_calls"]


def test_images_documents_and_marks_for_the_cache() -> None:
    fetched = {"https://x.example/a.png": Media("image/png", PNG)}
    content = [
        {"type": "text", "text": "see", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {"type": "image_url", "image_url": {"url": "s3://bucket/b.webp"}},
        {"type": "file", "file": {"filename": "My_report.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    made = write_request(
        {"messages": [user(content)], "tools": [tool("f", cache_control=MARK)]}, CLAUDE, stream=False, fetched=fetched
    )
    assert made.body["messages"][0]["content"] == [
        {"text": "see"},
        {"cachePoint": {"type": "default", "ttl": "1h"}},
        {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://bucket/b.webp"}}}},
        {"document": {"format": "pdf", "name": "My report pdf 1", "source": {"bytes": "JVBERi0="}}},
    ]
    assert made.body["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default"}}
    assert made.dropped == []


def test_a_document_alone_gets_a_text_beside_it() -> None:
    file = {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}}
    blocks = written(user([file])).body["messages"][0]["content"]
    assert [next(iter(block)) for block in blocks] == ["document", "text"]


def test_effort_is_what_each_maker_calls_it() -> None:
    claude = written(reasoning_effort="low", temperature=0.2).body
    assert claude["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert claude["inferenceConfig"] == {"maxTokens": 2048 + 4096}
    new = written(reasoning_effort="high", model=NEW_CLAUDE).body
    assert new["additionalModelRequestFields"]["thinking"] == {"type": "adaptive"}
    assert new["outputConfig"] == {"effort": "high"}
    oss = written(reasoning_effort="low", model="openai.gpt-oss-120b-1:0").body
    assert oss["additionalModelRequestFields"] == {"reasoning_effort": "low"}
    assert written(reasoning_effort="low", model=LLAMA).dropped == ["reasoning_effort"]


def test_extras_go_where_the_model_reads_them() -> None:
    made = written(
        top_k=5,
        service_tier="priority",
        metadata={"team": "a"},
        bedrock={
            "performanceConfig": {"latency": "optimized"},
            "own_field": 1,
            "additionalModelRequestFields": {"other": 2},
        },
    ).body
    assert made["additionalModelRequestFields"] == {"top_k": 5, "own_field": 1, "other": 2}
    assert made["performanceConfig"] == {"latency": "optimized"}
    assert made["serviceTier"] == {"type": "priority"}
    assert made["requestMetadata"] == {"team": "a"}
    assert written(top_k=5, model=NOVA).body["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 5}}
    assert written(top_k=5, model=LLAMA).dropped == ["top_k"]


def test_a_guardrail_and_claudes_beta_features() -> None:
    req = {"messages": [user("x")]}
    made = write_request(req, CLAUDE, stream=False, guardrail=("g1", "2"), beta=["b"]).body
    assert made["guardrailConfig"] == {"guardrailIdentifier": "g1", "guardrailVersion": "2"}
    assert made["additionalModelRequestFields"] == {"anthropic_beta": ["b"]}
    assert "additionalModelRequestFields" not in write_request(req, NOVA, stream=False, beta=["b"]).body


def test_a_schema_is_enforced_or_a_tool() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    native = written(response_format=form, model=NEW_CLAUDE)
    definition = native.body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert orjson.loads(definition["schema"]) == schema
    forced = written(response_format=form)
    assert forced.answer_tool == "x"
    assert forced.body["toolConfig"]["toolChoice"] == {"tool": {"name": "x"}}
    told = written(response_format=form, model=LLAMA)
    assert "toolChoice" not in told.body["toolConfig"]
    assert "`x`" in told.body["system"][-1]["text"]


def test_signed_thinking_goes_back_to_who_signed_it() -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "s", "provider": "anthropic"},
        {"type": "reasoning.encrypted", "data": "xx", "provider": "bedrock"},
        {"type": "reasoning.encrypted", "data": "yy", "provider": "gemini"},
    ]
    talk = (user("q"), {**CALLED, "reasoning_details": details}, *RESULTS)
    assert written(*talk).body["messages"][1]["content"][:2] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "xx"}},
    ]
    assert "reasoningText" not in str(written(*talk, model=NOVA).body)


@pytest.mark.parametrize(
    ("model", "prefix", "sent"),
    [
        (CLAUDE, "us", f"us.{CLAUDE}"),
        (CLAUDE, "eu.", f"eu.{CLAUDE}"),
        (f"apac.{CLAUDE}", "us", f"apac.{CLAUDE}"),
        ("arn:aws:bedrock:x", "us", "arn:aws:bedrock:x"),
        (CLAUDE, "", CLAUDE),
    ],
)
def test_an_inference_profile_is_put_before_the_id(model: str, prefix: str, sent: str) -> None:
    assert with_profile(model, prefix) == sent


def test_the_maker_is_read_from_the_id() -> None:
    ids = (CLAUDE, NEW_CLAUDE, NOVA, LLAMA, "arn:aws:bedrock:us-east-1::foundation-model/cohere.command-r-v1:0", "x")
    assert [family(one) for one in ids] == ["anthropic", "anthropic", "amazon", "meta", "cohere", ""]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
    ],
)
def test_why_it_stopped(reason: str, finish: str) -> None:
    answer = {"output": {"message": {"content": [{"text": "x"}]}}, "stopReason": reason}
    read = read_answer(answer, model="m", created=1, answer_id="i")
    assert read["choices"][0]["finish_reason"] == finish


def test_usage_with_what_was_cached() -> None:
    counts = {
        "inputTokens": 5,
        "outputTokens": 7,
        "totalTokens": 142,
        "cacheReadInputTokens": 100,
        "cacheWriteInputTokens": 30,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 10}, {"ttl": "5m", "inputTokens": 20}],
    }
    answer = {"output": {"message": {"content": []}}, "stopReason": "end_turn", "usage": counts}
    assert read_answer(answer, model="m", created=1, answer_id="i")["usage"] == {
        "prompt_tokens": 135,
        "completion_tokens": 7,
        "total_tokens": 142,
        "prompt_tokens_details": {
            "cached_tokens": 100,
            "cache_creation_tokens": 30,
            "cache_creation_1h_tokens": 10,
        },
    }
