"""`/docs/errors`: where every error's `doc` leads. One line for each code of the registry, without a key."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import TYPE_CHECKING

from instance.core.errors import REGISTRY
from instance.system.raw_http import method_not_allowed, send_body

if TYPE_CHECKING:
    from instance.system.raw_http import Scope, Send

PATH = "/docs/errors"

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
tr:target { background: #fd04; }
"""


@cache
def page() -> bytes:
    """The page, made once: each code is an anchor."""
    rows = "".join(
        f'<tr id="{entry.code}"><td><code>{entry.code}</code></td><td>{entry.status}</td>'
        f"<td><code>{entry.type}</code></td><td>{escape(entry.summary)}</td></tr>"
        for entry in sorted(REGISTRY.values(), key=lambda entry: (entry.status, entry.code))
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Errors · Stockyard</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><h1>Errors</h1>'
        "<p>Every error is <code>{&quot;error&quot;: {&quot;code&quot;, &quot;message&quot;, &quot;status&quot;, "
        "&quot;type&quot;, &quot;param&quot;, …}}</code>; programs act on its code.</p>"
        f"<table><thead><tr><th>code</th><th>status</th><th>type</th><th>when</th></tr></thead><tbody>{rows}</tbody>"
        "</table></body></html>"
    ).encode()


async def error_page(scope: Scope, send: Send) -> None:
    """Answer `GET /docs/errors`."""
    if scope["method"] not in ("GET", "HEAD"):
        raise method_not_allowed("GET", "HEAD")
    headers = ((b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"max-age=3600"))
    await send_body(scope, send, 200, page(), headers)
