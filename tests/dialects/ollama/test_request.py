from typing import Any

import pytest

from instance.chute.dialects.data_url import Media
from instance.chute.dialects.ollama.embeddings import read_embeddings, write_embeddings
from instance.chute.dialects.ollama.pull import PullProgress
from instance.chute.dialects.ollama.request import context_size, output_tokens, remote_urls, write_chat
from instance.core.errors import StockyardError

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "now"}}


def write(model: str = "llama3.2", /, **req: Any) -> dict[str, Any]:
    req.setdefault("messages", [USER])
    body, _ = write_chat(req, model, stream=False)
    return body


def test_parameters_are_options() -> None:
    body, dropped = write_chat(
        {
            "messages": [USER],
            "max_completion_tokens": 5,
            "temperature": 0,
            "top_p": 0.5,
            "top_k": 3,
            "min_p": 0.1,
            "seed": 1,
            "stop": "END",
            "repetition_penalty": 1.1,
            "options": {"mirostat": 2},
            "ollama": {"options": {"num_gpu": 1}, "truncate": False},
            "user": "u",
            "n": 2,
        },
        "llama3.2",
        stream=True,
        keep_alive="5m",
        num_ctx=8192,
    )
    assert body == {
        "model": "llama3.2",
        "messages": [USER],
        "stream": True,
        "options": {
            "num_predict": 5,
            "temperature": 0,
            "top_p": 0.5,
            "top_k": 3,
            "min_p": 0.1,
            "seed": 1,
            "repeat_penalty": 1.1,
            "stop": ["END"],
            "mirostat": 2,
            "num_ctx": 8192,
            "num_gpu": 1,
        },
        "keep_alive": "5m",
        "truncate": False,
    }
    assert dropped == ["user", "n"]


def test_the_calls_own_keep_alive_and_context_win() -> None:
    req = {"messages": [USER], "keep_alive": -1, "num_ctx": 1000}
    body, _ = write_chat(req, "m", stream=False, keep_alive="5m", num_ctx=4096)
    assert body["keep_alive"] == -1
    assert body["options"] == {"num_ctx": 1000}


@pytest.mark.parametrize(
    ("prompt", "output", "size"),
    [(10, 10, 4096), (4000, 96, 4096), (4000, 97, 8192), (6000, 1024, 8192), (9000, 1000, 16384), (90000, 1000, 32768)],
)
def test_the_context_is_the_smallest_power_of_two_that_holds_both(prompt: int, output: int, size: int) -> None:
    assert context_size(prompt, output, 4096, 32768) == size


def test_the_answer_has_room() -> None:
    assert output_tokens({}) == 1024
    assert output_tokens({"max_tokens": 7}) == 7


def test_a_whole_round_of_tools_and_images() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
    ]
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": content},
        {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    assert remote_urls(messages) == [("https://example.com/a.png", "messages[1].content[2]")]
    fetched = {"https://example.com/a.png": Media("image/png", "AAAA")}
    body, _ = write_chat({"messages": messages}, "m", stream=False, fetched=fetched)
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "look", "images": ["iVBORw0KGgo=", "AAAA"]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
        },
        {"role": "tool", "content": "rain", "tool_name": "weather"},
    ]


@pytest.mark.parametrize(
    ("choice", "names", "dropped"),
    [
        (None, ["weather", "now"], []),
        ("none", [], []),
        ("required", ["weather", "now"], ["tool_choice"]),
        ({"type": "function", "function": {"name": "now"}}, ["now"], ["tool_choice"]),
    ],
)
def test_which_tools_are_offered(choice: Any, names: list[str], dropped: list[str]) -> None:
    req = {"messages": [USER], "tools": [TOOL, OTHER], "tool_choice": choice}
    body, lost = write_chat(req, "m", stream=False)
    assert [tool["function"]["name"] for tool in body.get("tools", [])] == names
    assert lost == dropped


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}, {"type": "object"}),
    ],
)
def test_structured_output(form: dict[str, Any], sent: Any) -> None:
    assert write(response_format=form).get("format") == sent


@pytest.mark.parametrize(
    ("model", "effort", "think"),
    [
        ("qwen3", "none", False),
        ("qwen3", "low", True),
        ("gpt-oss:20b", "minimal", "low"),
        ("gpt-oss:20b", "medium", "medium"),
    ],
)
def test_effort_of_thinking(model: str, effort: str, think: Any) -> None:
    assert write(model, reasoning_effort=effort)["think"] == think


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///a"}}]}], "messages[0].content[0]"),
        ([{"role": "assistant", "tool_calls": [{}]}], "messages[0].tool_calls[0]"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "[1]"}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_named(messages: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(StockyardError) as caught:
        write(messages=messages)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_embeddings() -> None:
    body, dropped = write_embeddings({"input": ["a", "b"], "dimensions": 8, "user": "u"}, "all-minilm", "5m")
    assert body == {"model": "all-minilm", "input": ["a", "b"], "keep_alive": "5m", "dimensions": 8}
    assert dropped == ["user"]
    assert read_embeddings({"embeddings": [[1.0]], "prompt_eval_count": 3}) == ([[1.0]], 3)


def test_the_progress_of_a_pull_is_told_once_a_step() -> None:
    raw = (
        b'{"status":"pulling manifest"}\n{"status":"pulling ab","total":200,"completed":10}\n'
        b'{"status":"pulling ab","total":200,"completed":11}\n{"status":"pulling ab","total":200,"completed":200}\n'
        b'{"status":"success"}\n'
    )
    for cut in range(len(raw)):
        progress = PullProgress("m")
        assert progress.feed(raw[:cut]) + progress.feed(raw[cut:]) + progress.feed(b"") == [
            "pulling m: pulling manifest",
            "pulling m: 5 %",
            "pulling m: 100 %",
            "pulling m: success",
        ]
        assert progress.done
    failed = PullProgress("m")
    assert failed.feed(b'{"error":"no such model"}\n') == []
    assert (failed.error, failed.done) == ("no such model", False)
