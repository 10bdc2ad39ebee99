"""Holds the tool calls of a streamed answer until somebody has said that they may go; its text flows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import cast

from instance.chute.answer import Answer, Delta
from instance.chute.modules.safety.agent_steps import ToolCall, TurnCalls
from instance.core.errors import StockyardError

HELD_MAX = 20_000
"""Events of one stream that are held; a stream with more of them is ended."""

Judge = Callable[[list[ToolCall]], Awaitable[None]]
"""Raises `StockyardError` for calls that may not go."""


def held_tool_calls(answer: Answer, judge: Judge) -> Answer:
    """The streamed answer, its tool calls held until the stream is over and `judge` let them pass.

    The provider's stream is read to its end first, so that its connection does not wait for a person.
    """
    source = answer.events
    assert source is not None
    answer.events = _held(answer, source, judge)
    return answer


async def _held(answer: Answer, source: AsyncIterator[list[Delta]], judge: Judge) -> AsyncIterator[list[Delta]]:
    calls = TurnCalls()
    held: list[Delta] = []
    async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
        async for batch in events:
            passed: list[Delta] = []
            for delta in batch:
                if _has_tool_calls(delta):
                    calls.take(delta.obj or {})
                elif not held or _is_text(delta):
                    passed.append(delta)
                    continue
                held.append(delta)
            if len(held) > HELD_MAX:
                raise StockyardError("bad_upstream_response", "The provider's tool calls are too long to be checked.")
            if passed:
                yield passed
    if held:
        try:
            await judge(calls.calls())
        except StockyardError:
            answer.close()
            raise
        yield held


def _has_tool_calls(delta: Delta) -> bool:
    obj = delta.obj
    return obj is not None and any(
        part.get("tool_calls") or part.get("function_call")
        for choice in obj.get("choices") or ()
        if (part := choice.get("delta"))
    )


def _is_text(delta: Delta) -> bool:
    """Whether the event is more of a text, and nothing of the answer's end."""
    obj = delta.obj
    choices = obj.get("choices") if obj is not None else None
    return bool(choices) and all(choice.get("finish_reason") is None for choice in choices or ())
