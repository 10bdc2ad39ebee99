"""Counting a prompt's tokens: plain messages are counted where they stand, which says the same as collecting every text."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.text import request_texts
from instance.chute.tokens import (
    BYTES_PER_TOKEN,
    IMAGE_TOKENS,
    MESSAGE_TOKENS,
    count_prompt_tokens,
    count_tokens,
)
from tests.modules.exchanges import exchange

TEXTS = st.text(max_size=20)
PARTS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
        st.just({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        TEXTS,
    ),
    max_size=3,
)
MESSAGES = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "tool"]), "content": st.one_of(TEXTS, PARTS, st.none())},
        optional={"refusal": TEXTS, "tool_calls": st.just([{"function": {"name": "f", "arguments": '{"a": 1}'}}])},
    ),
    st.fixed_dictionaries({"content": TEXTS}),
    st.integers(),
)
REQUESTS = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "messages": st.lists(MESSAGES, max_size=4),
        "prompt": st.one_of(TEXTS, st.lists(TEXTS, max_size=3)),
        "input": st.one_of(TEXTS, st.lists(TEXTS, max_size=3)),
        "documents": st.lists(TEXTS, max_size=2),
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "response_format": st.just({"type": "json_object"}),
    },
)


def counted_over_all_texts(req: dict[str, Any]) -> int:
    count = sum(map(count_tokens, request_texts(req)))
    messages = req.get("messages")
    if messages is not None:
        count += MESSAGE_TOKENS * len(messages) + 3
        for message in messages:
            content = message.get("content") if isinstance(message, dict) else None
            for part in content if isinstance(content, list) else ():
                count += IMAGE_TOKENS * (isinstance(part, dict) and part["type"] == "image_url")
    for name in ("tools", "response_format"):
        if name in req:
            count += len(orjson.dumps(req[name])) // BYTES_PER_TOKEN
    return count


@given(REQUESTS)
def test_every_text_of_a_request_is_counted_once(req: dict[str, Any]) -> None:
    assert count_prompt_tokens(req) == counted_over_all_texts(req)


def test_a_call_counts_again_once_its_request_was_changed() -> None:
    x = exchange()
    x.req = {"messages": [{"role": "user", "content": "abc"}]}
    before = x.prompt_tokens()
    x.req["messages"][0]["content"] = "abc" * 10
    x.change()
    assert x.prompt_tokens() == before + 9
    x.req = {"messages": [{"role": "user", "content": "abc"}]}
    assert x.prompt_tokens() == before
