"""Other providers' thinking on its way through callers of this dialect, which send back blocks and know no other form."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson

from instance.chute.answer import JSON

MARK = "stockyard."
"""Beginning of a signature, or of redacted data, that is not Anthropic's but holds another provider's detail."""


def foreign_block(detail: JSON) -> JSON:
    """Another provider's detail of reasoning as a block, from which `own_detail` reads it back."""
    packed = MARK + urlsafe_b64encode(orjson.dumps(detail)).decode()
    if detail.get("type") == "reasoning.text":
        return {"type": "thinking", "thinking": detail.get("text") or "", "signature": packed}
    return {"type": "redacted_thinking", "data": packed}


def own_detail(block: JSON) -> JSON | None:
    """The detail in a block that `foreign_block` made; `None` for any other."""
    packed = block.get("signature") or block.get("data")
    if not isinstance(packed, str) or not packed.startswith(MARK):
        return None
    try:
        detail = orjson.loads(urlsafe_b64decode(packed[len(MARK) :]))
    except ValueError:
        return None
    return detail if isinstance(detail, dict) else None


def is_foreign(block: Any) -> bool:
    """Whether the block is thinking that Anthropic would refuse: another provider's, or without a signature."""
    if not isinstance(block, dict):
        return False
    if block.get("type") == "thinking":
        signature = block.get("signature")
        return not signature or str(signature).startswith(MARK)
    return block.get("type") == "redacted_thinking" and str(block.get("data", "")).startswith(MARK)
