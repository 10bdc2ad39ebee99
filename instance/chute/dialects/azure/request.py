"""What an API version of Azure OpenAI knows, and where a deployment is. Source: learn.microsoft.com, Azure OpenAI reference and
API version lifecycle."""

from __future__ import annotations

import re
from urllib.parse import quote

from instance.chute.dialects.openai_like.draft import Draft

SINCE = {
    "stream_options": "2024-09-01",
    "max_completion_tokens": "2024-09-01",
    "reasoning_effort": "2024-12-01",
    "parallel_tool_calls": "2024-08-01",
    "store": "2024-10-01",
    "metadata": "2024-10-01",
    "prediction": "2024-12-01",
    "modalities": "2025-01-01",
    "audio": "2025-01-01",
    "logprobs": "2024-02-01",
    "top_logprobs": "2024-02-01",
}
"""The first API version, by date, that takes a field."""
NEWEST = "9999-99-99"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
V1_PREFIX = b"/openai/v1"


def version_date(api_version: str) -> str:
    """The date that an API version begins with; `preview` and `latest` know everything."""
    found = _DATE.match(api_version)
    return found[0] if found else NEWEST


def fit(draft: Draft, api_version: str) -> None:
    """Take out what the version does not know; `max_completion_tokens` goes under its older name."""
    date = version_date(api_version)
    if date >= SINCE["max_completion_tokens"] and date >= SINCE["audio"]:
        return
    if date < SINCE["max_completion_tokens"]:
        draft.rename("max_completion_tokens", "max_tokens")
    if date < SINCE["stream_options"]:
        draft.remove("stream_options")
    draft.drop(*(name for name, since in SINCE.items() if since > date))


def takes_stream_options(api_version: str) -> bool:
    """Whether a stream of this version may be asked for its usage."""
    return version_date(api_version) >= SINCE["stream_options"]


def call_path(path: bytes, deployment: str, api_version: str, style: str) -> bytes:
    """The whole path of a call below the resource's address: `path` is OpenAI's (`/chat/completions`)."""
    if style == "v1":
        query = b"" if api_version[:1].isdigit() or not api_version else b"?api-version=" + api_version.encode()
        return V1_PREFIX + path + query
    named = quote(deployment, safe="").encode()
    return b"/openai/deployments/" + named + path + b"?api-version=" + quote(api_version, safe="").encode()
