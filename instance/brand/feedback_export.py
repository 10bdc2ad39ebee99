"""Judged answers as fine-tuning data: one chat conversation a line, as OpenAI's fine-tuning takes it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import orjson

from instance.brand import feedback_store
from instance.brand.feedback_store import FeedbackFilter

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.lookout.app import Lookout

PAGE = 200

Kind = Literal["good", "corrections"]


async def training_lines(core: Core, kind: Kind, narrowed: FeedbackFilter) -> AsyncIterator[bytes]:
    """Conversations whose answer was judged good, or that end with the correction that somebody gave.

    A call whose texts were not kept, or not whole, has no line.
    """
    narrowed.add("correction <> ''" if kind == "corrections" else "score > 0 AND source = 'explicit'")
    lookout: Lookout = core.services["lookout"]
    offset = 0
    while True:
        rows = await core.database.read(partial(feedback_store.rows, narrowed=narrowed, limit=PAGE, offset=offset))
        lines = await core.database.read(partial(_lines, lookout, kind, rows))
        if lines:
            yield lines
        if len(rows) < PAGE:
            return
        offset += PAGE


def _lines(lookout: Lookout, kind: Kind, rows: list[feedback_store.Row], connection: sqlite3.Connection) -> bytes:
    lines = []
    for row in rows:
        texts = lookout.texts_of(connection, row["trace_id"])
        conversation = _conversation(*texts, row["correction"] if kind == "corrections" else "") if texts else None
        if conversation is not None:
            lines.append(orjson.dumps(conversation, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(lines)


def _conversation(request: bytes, response: bytes, correction: str) -> dict[str, Any] | None:
    try:
        asked = orjson.loads(request)
        messages = asked["messages"]
        answer = (
            {"role": "assistant", "content": correction}
            if correction
            else orjson.loads(response)["choices"][0]["message"]
        )
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return None
    if not isinstance(messages, list) or not messages or not isinstance(answer, dict):
        return None
    said = {name: answer[name] for name in ("content", "tool_calls") if answer.get(name)}
    if not said:
        return None
    conversation: dict[str, Any] = {"messages": [*messages, {"role": "assistant", **said}]}
    if asked.get("tools"):
        conversation["tools"] = asked["tools"]
    return conversation
