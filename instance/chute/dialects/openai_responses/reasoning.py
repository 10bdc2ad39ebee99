"""Reasoning items: what a model thought, as a summary to read and as opaque content to give back to it."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson

from instance.chute.answer import JSON

DIALECT = "openai.responses"
_MARK = "sy1."
"""Begins `encrypted_content` that was made here: the canonical `reasoning_details` of whichever provider thought."""


def sealed(details: list[JSON]) -> str | None:
    """`encrypted_content` for canonical `reasoning_details`; OpenAI's own content is given back as it came."""
    if not details:
        return None
    first = details[0]
    if len(details) == 1 and first.get("type") == "reasoning.encrypted" and first.get("provider") == DIALECT:
        data = first.get("data")
        return data if isinstance(data, str) else None
    return _MARK + urlsafe_b64encode(orjson.dumps(details)).decode()


def opened(encrypted: Any) -> list[JSON]:
    """The canonical `reasoning_details` of an `encrypted_content`; empty for none."""
    if not isinstance(encrypted, str) or not encrypted:
        return []
    if encrypted.startswith(_MARK):
        try:
            details = orjson.loads(urlsafe_b64decode(encrypted[len(_MARK) :].encode()))
        except (binascii.Error, ValueError):
            details = None
        if isinstance(details, list):
            return [detail for detail in details if isinstance(detail, dict)]
        return []
    return [{"type": "reasoning.encrypted", "data": encrypted, "provider": DIALECT}]


def reasoning_text(item: JSON) -> str:
    """The text of a reasoning item: its summary's parts, else its content's, a paragraph each."""
    for name in ("summary", "content"):
        parts = item.get(name)
        if isinstance(parts, list):
            texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
            if texts:
                return "\n\n".join(texts)
    return ""


def merged(details: list[JSON], more: Any) -> None:
    """Add a streamed piece of `reasoning_details`: texts of one block are joined, what else it says replaces."""
    for detail in more if isinstance(more, list) else ():
        if not isinstance(detail, dict):
            continue
        last = details[-1] if details else None
        same = (
            last is not None
            and detail.get("type") == last.get("type") == "reasoning.text"
            and detail.get("index") == last.get("index")
            and "signature" not in last
        )
        if last is None or not same:
            details.append(dict(detail))
            continue
        text = str(last.get("text") or "") + str(detail.get("text") or "")
        last.update(detail)
        last["text"] = text
