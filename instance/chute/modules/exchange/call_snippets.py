"""A call as something to paste: a curl command, a Python program. The key is left as a variable."""

from __future__ import annotations

import shlex
from typing import Any

import orjson

KEPT_HEADERS = ("content-type", "anthropic-version", "anthropic-beta")


def _headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in KEPT_HEADERS or name.startswith("x-stockyard-")}


def as_curl(url: str, headers: dict[str, str], body: Any) -> str:
    """A command for a shell with `STOCKYARD_KEY` in its environment."""
    lines = [f"curl {shlex.quote(url)}", '-H "Authorization: Bearer $STOCKYARD_KEY"']
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in _headers(headers).items()]
    lines.append(f"-d {shlex.quote(orjson.dumps(body).decode())}")
    return " \\\n  ".join(lines)


def as_python(url: str, headers: dict[str, str], body: Any) -> str:
    """A program that needs `httpx` and prints the answer."""
    shown = {name: value for name, value in _headers(headers).items() if name != "content-type"}
    more = "".join(f", {name!r}: {value!r}" for name, value in shown.items())
    return (
        "import os\n\nimport httpx\n\n"
        "answer = httpx.post(\n"
        f"    {url!r},\n"
        f"    headers={{'Authorization': f\"Bearer {{os.environ['STOCKYARD_KEY']}}\"{more}}},\n"
        f"    json={body!r},\n"
        "    timeout=600,\n"
        ")\n"
        "print(answer.status_code, answer.text)\n"
    )
