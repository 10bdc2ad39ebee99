"""Text completions as chat and back, whole and streamed, cut at every byte."""

from typing import Any

import orjson
import pytest

from instance.chute.answer import DONE, Answer, Delta
from instance.chute.dialects.openai_completions import Completion, chat_request, untranslatable
from instance.chute.dialects.openai_completions_stream import CompletionEncoder, CompletionReader
from instance.chute.stream import encode_event
from instance.core.errors import StockyardError
from instance.core.settings import LimitSettings
from tests.dialects.streamed import read
from tests.modules.exchanges import exchange

JSON = dict[str, Any]
COMPLETION = Completion()


def taken(**body: Any) -> Any:
    x = exchange()
    x.targets[0].provider.is_mock = False
    x.operation = COMPLETION
    x.raw = orjson.dumps({"model": "m", **body})
    COMPLETION.take(x, LimitSettings())
    return x


def test_a_prompt_is_one_user_message_and_parameters_travel_on() -> None:
    assert chat_request(
        {"model": "m", "prompt": "hi", "max_tokens": 5, "stop": ["x"], "n": 2, "user": "u", "logprobs": 3}
    ) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "logprobs": True,
        "top_logprobs": 3,
        "max_tokens": 5,
        "stop": ["x"],
        "n": 2,
        "user": "u",
    }


def test_a_list_of_one_prompt_is_the_same() -> None:
    assert chat_request({"model": "m", "prompt": ["hi"]}) == chat_request({"model": "m", "prompt": "hi"})
    assert untranslatable({"prompt": ["hi"]}) is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": [[1, 2], [3]]}, "prompt"),
        ({"prompt": "a", "suffix": "z"}, "suffix"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "best_of": 1, "n": 2}, "best_of"),
    ],
)
def test_what_chat_cannot_do_is_refused_with_its_param(body: JSON, param: str) -> None:
    with pytest.raises(StockyardError) as caught:
        COMPLETION.check_translated(taken(**body))
    assert (caught.value.code, caught.value.status, caught.value.param) == ("not_supported", 400, param)


@pytest.mark.parametrize(
    ("prompt", "choices"), [("a", 2), ([1, 2], 2), (["a"], 2), (["a", "b", "c"], 6), ([[1], [2]], 4)]
)
def test_as_many_choices_are_awaited_as_prompts_ask_for(prompt: Any, choices: int) -> None:
    assert taken(prompt=prompt, n=2).req["n"] == choices


@pytest.mark.parametrize("body", [{"echo": False}, {"suffix": None}, {"best_of": 1}, {"best_of": 2, "n": 2}])
def test_what_asks_for_nothing_more_is_served(body: JSON) -> None:
    COMPLETION.check_translated(taken(prompt="a", **body))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "best_of": "2"}, "best_of"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "stream": 1}, "stream"),
        ({"prompt": "a", "echo": "yes"}, "echo"),
        ({"prompt": "a", "suffix": 1}, "suffix"),
        ({"prompt": "a", "stream_options": []}, "stream_options"),
    ],
)
def test_a_bad_field_is_refused_with_its_place(body: JSON, param: str) -> None:
    with pytest.raises(StockyardError) as caught:
        taken(**body)
    assert (caught.value.code, caught.value.param) == ("bad_request", param)


TOKENS = [
    {
        "token": "Hi",
        "logprob": -0.5,
        "bytes": [72, 105],
        "top_logprobs": [{"token": "Hi", "logprob": -0.5}, {"token": "Yo", "logprob": -2.0}],
    },
    {"token": "!", "logprob": -0.1, "bytes": [33], "top_logprobs": []},
]


def test_a_whole_answer_is_a_text_completion() -> None:
    obj = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi!"},
                "logprobs": {"content": TOKENS},
                "finish_reason": "length",
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": None, "refusal": "No."},
                "logprobs": None,
                "finish_reason": "stop",
            },
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    made = orjson.loads(COMPLETION.whole(taken(prompt="a"), Answer(obj=obj)))
    assert made == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "text": "Hi!",
                "index": 0,
                "logprobs": {
                    "tokens": ["Hi", "!"],
                    "token_logprobs": [-0.5, -0.1],
                    "top_logprobs": [{"Hi": -0.5, "Yo": -2.0}, {}],
                    "text_offset": [0, 2],
                },
                "finish_reason": "length",
            },
            {"text": "No.", "index": 1, "logprobs": None, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def chunk(text: str | None, finish: str | None = None, index: int = 0, **more: Any) -> JSON:
    delta = {"role": "assistant", "content": ""} if text is None else {"content": text}
    return {
        "id": "chatcmpl-1",
        "created": 7,
        "model": "m",
        "choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}],
    }


def events(raw: bytes) -> list[Any]:
    return [block.removeprefix(b"data: ") for block in raw.split(b"\n\n") if block]


def test_chunks_become_text_completions_and_a_role_alone_nothing() -> None:
    encoder = CompletionEncoder(COMPLETION, usage_asked=True)
    chunks = [
        chunk(None),
        chunk("Hi", logprobs={"content": TOKENS[:1]}),
        chunk("!", logprobs={"content": TOKENS[1:]}),
        chunk("", "stop"),
    ]
    usage = {"id": "chatcmpl-1", "created": 7, "model": "m", "choices": [], "usage": {"prompt_tokens": 1}}
    raw = b"".join(encoder.event(Delta(b"", obj)) for obj in [*chunks, usage]) + encoder.end()
    *made, done = events(raw)
    assert done == b"[DONE]"
    read_back = [orjson.loads(one) for one in made]
    assert [one["choices"][0]["text"] if one["choices"] else None for one in read_back] == ["Hi", "!", "", None]
    assert [one["choices"][0]["logprobs"]["text_offset"] for one in read_back[:2]] == [[0], [2]]
    assert read_back[2]["choices"][0]["finish_reason"] == "stop"
    assert read_back[-1]["usage"] == {"prompt_tokens": 1}
    assert {(one["id"], one["object"]) for one in read_back} == {("cmpl-1", "text_completion")}


def test_usage_that_only_we_asked_for_is_not_passed_on() -> None:
    encoder = CompletionEncoder(COMPLETION, usage_asked=False)
    usage = {"id": "c", "choices": [], "usage": {"prompt_tokens": 1}}
    assert encoder.event(Delta(b"", usage)) == b""
    reader = CompletionReader(usage_asked=False)
    (delta,) = reader.feed(
        encode_event({"id": "c", "object": "text_completion", "choices": [], "usage": {"prompt_tokens": 1}})
    )
    assert delta.raw == b""
    assert delta.obj is not None
    assert delta.obj["usage"] == {"prompt_tokens": 1}


NATIVE = (
    b"".join(
        encode_event(
            {
                "id": "cmpl-1",
                "object": "text_completion",
                "created": 7,
                "model": "m",
                "choices": [{"text": text, "index": index, "logprobs": None, "finish_reason": finish}],
            }
        )
        for text, index, finish in (
            ("Hal", 0, None),
            ("Yö", 1, None),
            ("lo", 0, None),
            ("", 0, "stop"),
            ("", 1, "length"),
        )
    )
    + DONE
)


def test_a_native_stream_is_the_same_chunks_wherever_it_is_cut() -> None:
    def reader() -> CompletionReader:
        return CompletionReader(usage_asked=True)

    whole = read(reader(), NATIVE)
    assert whole[-1] is None
    for cut in range(1, len(NATIVE)):
        assert read(reader(), NATIVE[:cut], NATIVE[cut:]) == whole
    texts = ["", ""]
    for one in whole[:-1]:
        assert one is not None
        assert one["object"] == "chat.completion.chunk"
        for choice in one["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == ["Hallo", "Yö"]


def test_a_text_that_a_module_changed_is_written_back_into_its_event() -> None:
    encoder = CompletionEncoder(COMPLETION, usage_asked=False)
    deltas = CompletionReader(usage_asked=False).feed(NATIVE)
    first = deltas[0]
    for choice in first.choices():
        choice.text = "***"
    made = orjson.loads(events(encoder.rewritten(first))[0])
    assert made["choices"][0]["text"] == "***"
    last = deltas[3]
    assert last.obj is not None
    last.obj["choices"][0]["delta"]["content"] = "the rest"
    made = orjson.loads(events(encoder.rewritten(last))[0])
    assert (made["choices"][0]["text"], made["choices"][0]["finish_reason"]) == ("the rest", "stop")


def test_a_changed_prompt_is_written_back_into_the_native_request() -> None:
    x = taken(prompt=["one", "two"], suffix="z", echo=True, max_tokens=9)
    x.req["messages"][1] = {"role": "user", "content": "***"}
    x.req["max_completion_tokens"] = x.req.pop("max_tokens") - 1
    x.change()
    found = COMPLETION.native_body(x, "other")
    assert found is not None
    assert found[1] == {"model": "other", "prompt": ["one", "***"], "suffix": "z", "echo": True, "max_tokens": 8}


def test_a_change_that_a_completion_cannot_say_is_left_to_chat() -> None:
    x = taken(prompt="one")
    x.req["messages"].insert(0, {"role": "system", "content": "Be brief."})
    x.change()
    assert COMPLETION.native_body(x, "m") is None
