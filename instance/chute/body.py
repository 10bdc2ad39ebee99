"""A chat request's bytes for a target: those that came in when nothing has to change."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.dialects.plain_chat import plain_chat
from instance.chute.exchange import Exchange
from instance.chute.targets import Target


def body_for(x: Exchange, target: Target, *, plain: bool = True) -> tuple[bytes, dict[str, Any]]:
    """The request's bytes for the target: those that came in when nothing has to change, else only what must.

    A stream asks for usage even when the caller did not; the chunk that carries it is then stripped on the way out. A call of
    another dialect is made plain chat, unless that was done already (`plain`).
    """
    req = x.req
    ask_usage = x.stream and not x.usage_asked and target.provider.stream_usage
    rename = req.get("model") != target.model
    if not x.changed and not rename and x.native is None:
        if not ask_usage:
            return x.raw, req
        raw = x.raw
        if "stream_options" not in req and raw[:1] == b"{":
            return b'{"stream_options":{"include_usage":true},' + raw[1:], req
    sent = dict(req)
    if plain and x.native is not None:
        sent = plain_chat(sent)
    if rename:
        sent["model"] = target.model
    if ask_usage:
        options = req.get("stream_options")
        sent["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return orjson.dumps(sent), sent
