"""The built-in provider `mock`: answers chat with `echo: <last user text>`, without a network or a key, and every other
endpoint of `/v1` as `mock_kinds.py` says.

It makes everything work before a provider key is there, and lets a test or a demonstration choose per call how a
provider behaves (`MockOptions`). Everything but `id` and `created` follows from the request.

Usage is an estimate, always the same for the same call: a prompt token for every four characters of the messages'
texts (rounded up), a completion token for every word, that is, every piece between single spaces. A streamed answer
has one content chunk for each completion token. `max_tokens` cuts the answer, as with a real model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count, cycle, islice
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.mock_kinds import events, speech, whole_answer
from instance.chute.mock_options import BadOption, MockOptions, read_options
from instance.chute.mock_response import MockResponse
from instance.chute.upstream import UpstreamError

if TYPE_CHECKING:
    from instance.core.clock import Clock

MODELS = ("gpt", "small", "large", "embedding", "image", "speech", "transcription", "moderation", "rerank")
"""Each answers every endpoint; the names say what they are meant for."""
CHAT_PATH = b"/chat/completions"
CHARACTERS_PER_TOKEN = 4
EVENTS_PER_BLOCK = 64
FINGERPRINT = "fp_stockyard_mock"

_JSON_HEADERS = {b"content-type": b"application/json"}
_STREAM_HEADERS = {b"content-type": b"text/event-stream; charset=utf-8"}
_DONE = b"data: [DONE]\n\n"
_process = token_hex(6)
_numbers = count(1)


def _renew_process() -> None:
    """A fork goes on with names of its own."""
    global _process
    _process = token_hex(6)


os.register_at_fork(after_in_child=_renew_process)


class MockModel:
    """Answers chat calls by itself. `clock` paces what is asked to be slow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def answer(self, body: dict[str, Any], stream: bool, path: bytes = CHAT_PATH) -> MockResponse:
        """The answer to a body, whole or as server-sent events; bad values give a 400 in OpenAI's error form. In a form,
        `body` holds the fields, and for a file its name and size."""
        if path != CHAT_PATH:
            return await self._other(body, path, stream)
        try:
            options = read_options(body)
            prompt_tokens, said = _read_messages(body)
        except BadOption as error:
            return self._whole(400, _error(error.message, "invalid_request_error", error.param))
        if options.delay_ms:
            await self._clock.sleep(options.delay_ms / 1e3)
        if options.status >= 300:
            return self._failed(options.status)
        call = _Call(body, options, said, prompt_tokens, self._clock.wall_ns() // 1_000_000_000)
        if stream:
            paced = options.tokens_per_s > 0
            gap_ns = int(1e9 / options.tokens_per_s) if paced else 0
            return MockResponse(
                200, _STREAM_HEADERS, call.blocks(1 if paced else EVENTS_PER_BLOCK), self._clock, gap_ns
            )
        if options.tokens_per_s:
            spoken = len(call.pieces) if options.drop_after is None else min(options.drop_after, len(call.pieces))
            await self._clock.sleep(spoken / options.tokens_per_s)
        return MockResponse(200, _JSON_HEADERS, call.whole(), self._clock)

    async def _other(self, body: dict[str, Any], path: bytes, stream: bool) -> MockResponse:
        """A path beside chat. Of the options those hold that have a meaning there; a token of speech is a tenth of a second."""
        model = str(body.get("model") or "gpt")
        created_s = self._clock.wall_ns() // 1_000_000_000
        try:
            options = read_options({"mock": body.get("mock")})
            if stream:
                content_type, blocks = _STREAM_HEADERS[b"content-type"], events(path, body, created_s)
            elif path == b"/audio/speech":
                content_type, blocks = speech(body)
            else:
                content_type, whole = whole_answer(path, body, model, created_s)
                blocks = iter((whole,))
        except BadOption as error:
            return self._whole(400, _error(error.message, "invalid_request_error", error.param))
        if options.delay_ms:
            await self._clock.sleep(options.delay_ms / 1e3)
        if options.status >= 300:
            return self._failed(options.status)
        if options.drop_after is not None:
            blocks = _broken_off(blocks, options.drop_after)
        gap_ns = int(1e9 / options.tokens_per_s) if options.tokens_per_s > 0 else 0
        return MockResponse(200, {b"content-type": content_type}, blocks, self._clock, gap_ns)

    def _failed(self, status: int) -> MockResponse:
        kind = "rate_limit_error" if status == 429 else "server_error"
        return self._whole(status, _error(f"mock status {status}, as asked", kind, None))

    def _whole(self, status: int, body: bytes) -> MockResponse:
        return MockResponse(status, _JSON_HEADERS, iter((body,)), self._clock)


class _Call:
    """One answer being made."""

    __slots__ = ("_choices", "_drop_after", "_finish", "_head", "_model", "_usage", "_with_usage", "pieces")

    def __init__(
        self, body: dict[str, Any], options: MockOptions, said: str, prompt_tokens: int, created_s: int
    ) -> None:
        self.pieces = _pieces(f"echo: {said}", options.tokens)
        self._finish = b'"stop"'
        if options.max_tokens is not None and len(self.pieces) > options.max_tokens:
            self.pieces = self.pieces[: options.max_tokens]
            self._finish = b'"length"'
        completion_tokens = len(self.pieces) * options.choices
        self._choices = options.choices
        self._drop_after = options.drop_after
        self._model = orjson.dumps(str(body.get("model") or "gpt"))
        self._head = b'{"id":"chatcmpl-%s%012x","object":"chat.completion%%s","created":%d,"model":%s' % (
            _process.encode(),
            next(_numbers),
            created_s,
            self._model.replace(b"%", b"%%"),
        )
        self._usage = (
            b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
            b'"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
            b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
            b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
        ) % (prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)
        asked = body.get("stream_options")
        self._with_usage = isinstance(asked, dict) and asked.get("include_usage") is True

    def whole(self) -> Iterator[bytes]:
        """The body of a plain answer; cut short when the connection is to break."""
        content = orjson.dumps("".join(self.pieces))
        choices = b",".join(
            [
                b'{"index":%d,"message":{"role":"assistant","content":%s,"refusal":null,"annotations":[]},'
                b'"logprobs":null,"finish_reason":%s}' % (index, content, self._finish)
                for index in range(self._choices)
            ]
        )
        body = b'%s,"choices":[%s],"usage":%s,"service_tier":"default","system_fingerprint":"%s"}' % (
            self._head % b"",
            choices,
            self._usage,
            FINGERPRINT.encode(),
        )
        if self._drop_after is None:
            yield body
            return
        yield body[: body.index(content) + len("".join(self.pieces[: self._drop_after]).encode())]
        raise _dropped()

    def blocks(self, events_per_block: int) -> Iterator[bytes]:
        """The events of a streamed answer, so many at a time."""
        events = self._events()
        if self._drop_after is None:
            while block := b"".join(islice(events, events_per_block)):
                yield block
            return
        for number, event in enumerate(events):
            # roles come first, one for each choice; then the tokens, one for each choice in turn
            if number >= self._choices * (1 + self._drop_after):
                raise _dropped()
            yield event
        raise _dropped()

    def _events(self) -> Iterator[bytes]:
        head = b'data: %s,"service_tier":"default","system_fingerprint":"%s","choices":[' % (
            self._head % b".chunk",
            FINGERPRINT.encode(),
        )
        tail = b'],"usage":null}\n\n' if self._with_usage else b"]}\n\n"
        for index in range(self._choices):
            yield (
                b'%s{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,'
                b'"finish_reason":null}%s' % (head, index, tail)
            )
        middle = b'},"logprobs":null,"finish_reason":null}' + tail
        starts = [b'%s{"index":%d,"delta":{"content":' % (head, index) for index in range(self._choices)]
        dumps = orjson.dumps
        for piece in self.pieces:
            for start in starts:
                yield start + dumps(piece) + middle
        for index in range(self._choices):
            yield b'%s{"index":%d,"delta":{},"logprobs":null,"finish_reason":%s}%s' % (head, index, self._finish, tail)
        if self._with_usage:
            yield b'%s],"usage":%s}\n\n' % (head, self._usage)
        yield _DONE


def _pieces(text: str, tokens: int | None) -> list[str]:
    """`text` in its tokens; with a number of `tokens` its words go round until there are so many."""
    words = text.split(" ")
    if tokens is not None:
        words = list(islice(cycle(words), tokens))
    return words[:1] + [" " + word for word in words[1:]]


def _read_messages(body: dict[str, Any]) -> tuple[int, str]:
    """Prompt tokens and the last user text; raises BadOption when there is nothing to answer."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadOption("messages", "messages is a list of at least one message")
    characters = 0
    said = ""
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadOption(f"messages[{place}]", "a message is an object")
        text = _text_of(message.get("content"), place)
        characters += len(text)
        if message.get("role") == "user":
            said = text
    return -(-characters // CHARACTERS_PER_TOKEN), said


def _text_of(content: Any, place: int) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, list):
        raise BadOption(f"messages[{place}].content", "content is a string or a list of parts")
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join([text for text in texts if isinstance(text, str)])


def _error(message: str, kind: str, param: str | None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": None}})


def _broken_off(blocks: Iterator[bytes], after: int) -> Iterator[bytes]:
    yield from islice(blocks, after)
    raise _dropped()


def _dropped() -> UpstreamError:
    return UpstreamError("truncated", "the mock model dropped the connection, as asked", sent=True)
