"""The canonical form of calls is put together by hand; it must be the chain's, whatever the texts hold."""

from __future__ import annotations

import orjson
import pytest

from instance.brand.chain import canonical
from instance.brand.ledger import CALL_EVENT, CallFrame

TEXTS = [
    "",
    "gpt-4o-mini",
    'a "quoted" \\ name',
    "line\nbreak\x00\x1f\x7f",
    "ünï 漢字 😀",
    "</script>\u2028",
    "tr_01ABC",
]


@pytest.mark.parametrize("text", TEXTS)
def test_it_is_the_chains_form_byte_for_byte(text: str) -> None:
    detail = orjson.dumps({"model": text, "tokens_in": 3}, option=orjson.OPT_SORT_KEYS).decode()
    frame = CallFrame(text, text, text, text, text)
    entry = {
        "seq": 12,
        "created_at": "2026-02-28T14:30:00.123456Z",
        "event_type": CALL_EVENT,
        "actor": frame.actor,
        "resource": frame.resource,
        "action": frame.action,
        "detail": orjson.Fragment(detail),
        "trace_id": text,
    }
    assert frame.canonical(12, "2026-02-28T14:30:00.123456Z", detail, text) == canonical(entry)
