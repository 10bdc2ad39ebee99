"""Binary event streams of AWS, written for tests."""

from struct import pack
from typing import Any
from zlib import crc32

import orjson


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    wire = b"".join(
        pack("!B", len(name)) + name.encode() + b"\x07" + pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = pack("!II", 16 + len(wire) + len(payload), len(wire))
    data = prelude + pack("!I", crc32(prelude)) + wire + payload
    return data + pack("!I", crc32(data))


def event(name: str, **payload: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, orjson.dumps(payload))


def exception(name: str, message: str) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, orjson.dumps({"message": message}))


def start() -> bytes:
    return event("messageStart", role="assistant")


def texts(index: int, *pieces: str) -> bytes:
    deltas = [event("contentBlockDelta", contentBlockIndex=index, delta={"text": piece}) for piece in pieces]
    return b"".join(deltas) + event("contentBlockStop", contentBlockIndex=index)


def call(index: int, call_id: str, name: str, *pieces: str) -> bytes:
    begin = event("contentBlockStart", contentBlockIndex=index, start={"toolUse": {"toolUseId": call_id, "name": name}})
    deltas = [
        event("contentBlockDelta", contentBlockIndex=index, delta={"toolUse": {"input": piece}}) for piece in pieces
    ]
    return begin + b"".join(deltas) + event("contentBlockStop", contentBlockIndex=index)


def thought(index: int, signature: str, *pieces: str) -> bytes:
    said = [{"text": piece} for piece in pieces] + [{"signature": signature}]
    deltas = [event("contentBlockDelta", contentBlockIndex=index, delta={"reasoningContent": one}) for one in said]
    return b"".join(deltas) + event("contentBlockStop", contentBlockIndex=index)


def end(reason: str, **usage: int) -> bytes:
    counts = {"inputTokens": 10, "outputTokens": 7, "totalTokens": 17, **usage}
    return event("messageStop", stopReason=reason) + event("metadata", usage=counts, metrics={"latencyMs": 5})
