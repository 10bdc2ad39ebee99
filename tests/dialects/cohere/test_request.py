from typing import Any

import pytest

from instance.chute.dialects.cohere.embeddings import TEXTS_MAX, read_embeddings, write_embeddings
from instance.chute.dialects.cohere.request import write_chat
from instance.chute.dialects.cohere.rerank import read_rerank, write_rerank
from instance.core.errors import StockyardError

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "weather", "strict": True, "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "now", "description": "the time"}}


def write(**req: Any) -> dict[str, Any]:
    req.setdefault("messages", [USER])
    body, _ = write_chat(req, "command-a-03-2025", stream=False)
    return body


def test_parameters_have_cohere_names() -> None:
    body = write(
        temperature=0.3, top_p=0.5, top_k=20, max_completion_tokens=9, max_tokens=8, stop=["END"], seed=1, logprobs=True,
        frequency_penalty=0.1, presence_penalty=0.2,
    )  # fmt: skip
    assert body == {
        "model": "command-a-03-2025",
        "messages": [USER],
        "temperature": 0.3,
        "p": 0.5,
        "k": 20,
        "max_tokens": 9,
        "stop_sequences": ["END"],
        "seed": 1,
        "logprobs": True,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
    }


def test_what_has_no_counterpart_is_named() -> None:
    _, dropped = write_chat({"messages": [USER], "user": "u", "n": 2, "logit_bias": {}}, "m", stream=False)
    assert dropped == ["user", "logit_bias", "n"]


def test_a_whole_round_of_tools() -> None:
    calls = [{"id": "w1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}]
    body = write(
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "https://e.x/a.png", "detail": "low"}}]},
            {"role": "assistant", "content": None, "reasoning_content": "I look it up.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "w1", "content": [{"type": "text", "text": "rain"}]},
            {"role": "assistant", "content": "It rains.", "reasoning_content": "dropped"},
        ]
    )  # fmt: skip
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://e.x/a.png", "detail": "low"}},
            ],
        },
        {"role": "assistant", "tool_calls": calls, "tool_plan": "I look it up."},
        {"role": "tool", "tool_call_id": "w1", "content": "rain"},
        {"role": "assistant", "content": "It rains."},
    ]


@pytest.mark.parametrize(
    ("choice", "names", "said"),
    [
        (None, ["weather", "now"], None),
        ("auto", ["weather", "now"], None),
        ("required", ["weather", "now"], "REQUIRED"),
        ("none", ["weather", "now"], "NONE"),
        ({"type": "function", "function": {"name": "now"}}, ["now"], "REQUIRED"),
    ],
)
def test_which_tool_is_called(choice: Any, names: list[str], said: str | None) -> None:
    body = write(tools=[TOOL, OTHER], tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body.get("tool_choice") == said
    assert body["strict_tools"] is True
    assert all("strict" not in tool["function"] for tool in body["tools"])


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
            {"type": "json_object", "json_schema": {"type": "object"}},
        ),
    ],
)
def test_structured_output(form: dict[str, Any], sent: Any) -> None:
    assert write(response_format=form).get("response_format") == sent


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [("none", {"type": "disabled"}), ("low", {"type": "enabled", "token_budget": 1024}), ("high", {"type": "enabled"})],
)
def test_effort_of_thinking(effort: str, thinking: dict[str, Any]) -> None:
    assert write(reasoning_effort=effort)["thinking"] == thinking


def test_own_parameters_pass_and_win_over_the_settings() -> None:
    documents = [{"id": "d", "data": {"text": "x"}}]
    req = {"messages": [USER], "documents": documents, "safety_mode": "STRICT", "cohere": {"priority": 3}}
    body, dropped = write_chat(req, "m", stream=True, citations=False, safety_mode="OFF")
    assert dropped == []
    assert (body["documents"], body["safety_mode"], body["priority"]) == (documents, "STRICT", 3)
    assert body["citation_options"] == {"mode": "OFF"}
    assert body["stream"] is True


@pytest.mark.parametrize(
    ("req", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [USER], "tools": [{"type": "custom"}]}, "tools[0]"),
        ({"messages": [USER], "tools": [TOOL], "tool_choice": {"function": {"name": "x"}}}, "tool_choice"),
        ({"messages": [USER], "reasoning_effort": "wild"}, "reasoning_effort"),
    ],
)
def test_what_cannot_be_sent_is_named(req: dict[str, Any], param: str) -> None:
    with pytest.raises(StockyardError) as caught:
        write_chat(req, "m", stream=False)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_embeddings_ask_for_the_type_of_the_settings_unless_the_call_says_it() -> None:
    (body,), dropped = write_embeddings({"input": "a", "dimensions": 256, "user": "u"}, "embed-v4.0", "search_document")
    assert body == {
        "model": "embed-v4.0",
        "input_type": "search_document",
        "embedding_types": ["float"],
        "output_dimension": 256,
        "texts": ["a"],
    }
    assert dropped == ["user"]
    (body,), _ = write_embeddings({"input": "a", "input_type": "search_query"}, "m", "search_document")
    assert body["input_type"] == "search_query"
    bodies, _ = write_embeddings({"input": ["a"] * (TEXTS_MAX + 2)}, "m", "x")
    assert [len(body["texts"]) for body in bodies] == [TEXTS_MAX, 2]
    meta = {"billed_units": {"input_tokens": 4.0}}
    assert read_embeddings({"embeddings": {"float": [[1, 2]]}, "meta": meta}) == ([[1, 2]], 4)


def test_rerank_sends_texts_and_gives_the_documents_back() -> None:
    req = {
        "query": "q",
        "documents": ["a", {"text": "b", "id": 1}, {"title": "c"}],
        "top_n": 2,
        "return_documents": True,
    }
    body, dropped = write_rerank(req, "rerank-v3.5")
    assert body == {"model": "rerank-v3.5", "query": "q", "documents": ["a", "b", '{"title":"c"}'], "top_n": 2}
    assert dropped == []
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    answer = read_rerank({"id": "i", "results": results, "meta": {"billed_units": {"search_units": 1}}}, req, "m")
    assert [one["document"] for one in answer["results"]] == [{"text": "b", "id": 1}, {"text": "a"}]
    assert answer["meta"] == {"billed_units": {"search_units": 1}}
    assert answer["usage"] == {"search_units": 1}
    assert "document" not in read_rerank({"results": results}, {"documents": ["a", "b"]}, "m")["results"][0]


def test_rank_fields_choose_what_of_a_document_counts() -> None:
    req = {"query": "q", "documents": [{"title": "t", "body": "b", "x": 1}], "rank_fields": ["title", "body"]}
    assert write_rerank(req, "m")[0]["documents"] == ["title: t\nbody: b"]


def test_allowed_tools_are_the_ones_that_are_offered() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER]}}
    body = write(tools=[TOOL, OTHER], tool_choice=choice)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["now"]
    assert body["tool_choice"] == "REQUIRED"
