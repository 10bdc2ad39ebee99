"""The one fixed answer of benchmarks, made once."""

from __future__ import annotations

import orjson

from instance.mock_upstream.connection import chunk, head

PLAIN_TEXT = (
    "A stockyard is a place where livestock is kept for a short while, between the farm it comes from and the "
    "market it goes to. "
) * 2


def plain_replies() -> tuple[bytes, bytes]:
    """A whole chat completion and a streamed one, head and all."""
    from instance.mock_upstream.conversation import answer
    from instance.mock_upstream.dialects.openai_chat import ChatForm, read_chat
    from instance.mock_upstream.replies import Reply

    asked = {
        "model": "mock-small",
        "messages": [{"role": "user", "content": "What is a stockyard?"}],
        "stream_options": {"include_usage": True},
    }
    said = answer(read_chat(asked), Reply(text=PLAIN_TEXT))
    form = ChatForm()
    body = orjson.dumps(form.whole(asked, said))
    events = b"".join(chunk(event.data) for event in form.events(asked, said))
    return (
        head(200, {"content-type": "application/json"}, len(body)) + body,
        head(200, {"content-type": "text/event-stream"}, None) + events + b"0\r\n\r\n",
    )
