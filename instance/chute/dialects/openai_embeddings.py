"""OpenAI embeddings: `POST /v1/embeddings`."""

from __future__ import annotations

from base64 import b64encode
from struct import pack
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.dialects.openai_chat import check_depth, decode, take_model
from instance.chute.operation import Operation
from instance.chute.tokens import count_tokens
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

INPUTS_MAX = 2048
FORMATS = ("float", "base64")


class Embeddings(Operation):
    """Vectors of texts, or of tokens."""

    name: ClassVar[str] = "embedding"
    kind: ClassVar[str] = "embeddings"
    dialect: ClassVar[str] = "openai.embeddings"
    path: ClassVar[bytes] = b"/embeddings"
    answer_max_bytes: ClassVar[int] = 128 << 20
    """2,048 vectors of 3,072 numbers, written out."""

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        raw = x.raw
        req = x.req = decode(raw)
        if raw.count(b"[") + raw.count(b"{") > limits.depth:
            # Token lists are many brackets, all on one level: the input is checked by its shape instead.
            check_depth(raw, {**req, "input": None}, limits.depth)
        x.model_requested = take_model(x, req)
        check_input(req.get("input"))
        dimensions = req.get("dimensions")
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            raise StockyardError("bad_request", "`dimensions` is a whole number from 1.", param="dimensions")
        if req.get("encoding_format") not in (None, *FORMATS):
            raise StockyardError("bad_request", "`encoding_format` is float or base64.", param="encoding_format")

    def read(self, x: Exchange, raw: bytes) -> JSON:
        answer = super().read(x, raw)
        if not isinstance(answer.get("data"), list):
            raise ValueError("the answer has no embeddings")
        return answer

    def whole(self, x: Exchange, answer: Answer) -> bytes:
        obj = answer.obj
        if obj is not None and x.req.get("encoding_format") == "base64":
            obj = {**obj, "data": [_encoded(row) for row in obj["data"]]}
        return orjson.dumps(obj)

    def measure(self, x: Exchange) -> None:
        usage = x.usage
        if not usage.source:
            usage.input = _count(x.req.get("input"))
            usage.source = "estimated"


def check_input(value: Any) -> None:
    """Refuse an `input` that is no text, no list of texts, and no tokens. Raises `bad_request`."""
    if type(value) is str:
        return
    if type(value) is not list or not value:
        raise StockyardError("bad_request", "`input` is a text, or a list of texts or of tokens.", param="input")
    types = set(map(type, value))
    if types == {int}:
        return
    if len(value) > INPUTS_MAX:
        raise StockyardError("bad_request", f"At most {INPUTS_MAX} inputs in one call.", param="input")
    if types == {str}:
        return
    wanted = type(value[0]) if type(value[0]) in (str, list) else list
    for index, item in enumerate(value):
        if type(item) is not wanted or (wanted is list and (not item or set(map(type, item)) != {int})):
            raise StockyardError(
                "bad_request", "An input is a text or a list of token numbers.", param=f"input[{index}]"
            )


def _encoded(row: JSON) -> JSON:
    vector = row.get("embedding")
    if type(vector) is not list:
        return row
    return {**row, "embedding": b64encode(pack(f"<{len(vector)}f", *vector)).decode()}


def _count(value: Any) -> int:
    if type(value) is str:
        return count_tokens(value)
    if type(value) is not list:
        return 0
    return sum(1 if type(item) is int else len(item) if type(item) is list else _count(item) for item in value)
