"""Ids of tool calls as the Messages API takes them: letters, digits, `_` and `-`."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

_ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,256}")


def wire_tool_id(call_id: Any) -> str:
    """The id as it is, or one made from it when another provider's id has characters that are refused here. The same id gives
    the same, so that a call and its result stay together."""
    text = call_id if isinstance(call_id, str) else str(call_id or "")
    if _ALLOWED.fullmatch(text):
        return text
    return "toolu_" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
