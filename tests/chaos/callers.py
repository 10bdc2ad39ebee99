"""Steady callers: the official SDK, whole and streamed by turns, each call written down as it ended."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import httpx2
import openai

from tests.chaos.disturbances import OK, Call
from tests.cloud.service import Tenant

PAUSE_S = 0.35
MODEL = "mock/gpt"


class Caller(threading.Thread):
    """Calls one tenant until `leave`; `hush` and `go_on` interrupt it between two calls."""

    def __init__(self, tenant: Tenant, seed: int) -> None:
        super().__init__(name=f"caller of {tenant.slug}", daemon=True)
        self.tenant = tenant
        self.calls: list[Call] = []  # appended to by this thread alone
        self._chance = random.Random(seed)
        self._client = tenant.openai()
        self._wanted = threading.Event()
        self._wanted.set()
        self._leave = threading.Event()
        self._resting = threading.Event()
        self._number = 0

    def run(self) -> None:
        while not self._leave.is_set():
            if not self._wanted.is_set():
                self._resting.set()
                self._wanted.wait(0.05)
                continue
            self._resting.clear()
            self.calls.append(self.call())
            self._leave.wait(self._chance.uniform(0.5, 1.5) * PAUSE_S)

    def hush(self) -> None:
        """Return once no call is under way and none will begin."""
        self._resting.clear()
        self._wanted.clear()
        self._resting.wait(70)

    def go_on(self) -> None:
        self._wanted.set()

    def leave(self) -> None:
        """End after the call that is under way."""
        self._leave.set()
        self._wanted.set()

    def call(self) -> Call:
        """One call, whatever becomes of it."""
        self._number += 1
        nonce, streamed = f"{self.tenant.slug}.{self._number}", self._number % 2 == 0
        begun = time.monotonic()
        code, trace_id = call_once(self._client, nonce, streamed)
        return Call(self.tenant.slug, nonce, streamed, begun, time.monotonic(), code, trace_id)


def call_once(client: openai.OpenAI, nonce: str, streamed: bool) -> tuple[str, str]:
    """What came of a call, `ok` or the code of its failure, and its trace id where one was seen."""
    trace_id = ""
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=[{"role": "user", "content": nonce}],
            stream=streamed,  # type: ignore[arg-type]
            extra_headers={"X-Stockyard-Session": nonce},
        )
        trace_id = raw.headers.get("x-stockyard-trace-id", "")
        said, ended = _streamed(raw.parse()) if streamed else _whole(raw.parse())  # type: ignore[arg-type]
    except openai.APIStatusError as error:
        return error.code or f"http_{error.status_code}", trace_id
    except openai.APITimeoutError:
        return "timed_out", trace_id
    except openai.APIConnectionError as error:
        return "not_connected" if isinstance(error.__cause__, httpx2.ConnectError) else "cut", trace_id
    except openai.APIError as error:
        return error.code or "error_event", trace_id
    except httpx2.TransportError:
        return "cut", trace_id
    if not ended:
        return "cut", trace_id
    return (OK if said == f"echo: {nonce}" and trace_id else "wrong_answer"), trace_id


def _whole(answer: openai.types.chat.ChatCompletion) -> tuple[str, bool]:
    choice = answer.choices[0]
    return choice.message.content or "", choice.finish_reason == "stop"


def _streamed(chunks: Iterator[openai.types.chat.ChatCompletionChunk]) -> tuple[str, bool]:
    said, ended = "", False
    for chunk in chunks:
        for choice in chunk.choices:
            said += choice.delta.content or ""
            ended = ended or choice.finish_reason == "stop"
    return said, ended
