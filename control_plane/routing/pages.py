"""What a person with a browser sees of a tenant that is not awake: one page, no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from typing import Literal

Mark = Literal["resting", "working", "stopped"]

STYLE = """
:root{color-scheme:light dark;--ground:#f4f2ee;--card:#fff;--text:#1d1c1a;--soft:#5f5b54;--line:#dcd7ce;--accent:#8a3b12;
--on-accent:#fff;--resting:#7d8aa5;--working:#b7791f;--stopped:#b3372f}
@media(prefers-color-scheme:dark){:root{--ground:#151412;--card:#1f1d1a;--text:#f0ece4;--soft:#a8a196;--line:#38342e;
--accent:#e08a52;--on-accent:#1b120b;--resting:#93a3c4;--working:#e0a84a;--stopped:#e57368}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;grid-template-rows:1fr auto;background:var(--ground);color:var(--text);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{align-self:center;justify-self:center;width:min(30rem,100% - 2rem);margin:2rem 0;padding:2rem;background:var(--card);
border:1px solid var(--line);border-radius:.9rem}
.tenant{display:flex;align-items:center;gap:.6rem;margin:0 0 1.1rem;color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
.dot{flex:none;width:.7rem;height:.7rem;border-radius:50%;background:var(--resting)}
.working .dot{background:var(--working)}.stopped .dot{background:var(--stopped)}
h1{margin:0 0 .6rem;font-size:1.5rem;line-height:1.25;letter-spacing:-.01em}
p{margin:0 0 .8rem;color:var(--soft)}p:last-child{margin:0}
h1+.reason{margin-top:1rem}.reason{padding:.7rem .9rem;border-left:3px solid var(--stopped);background:var(--ground);color:var(--text);
overflow-wrap:anywhere;border-radius:0 .4rem .4rem 0}
.wrong{color:var(--stopped)}
form{margin-top:1.2rem}label{display:block;margin-bottom:.35rem;font-weight:600;font-size:.9rem}
input,button{width:100%;padding:.7rem .8rem;font:inherit;border-radius:.5rem}
input{margin-bottom:.8rem;border:1px solid var(--line);background:var(--ground);color:var(--text)}
button{border:0;background:var(--accent);color:var(--on-accent);font-weight:600;cursor:pointer}
input:focus-visible,button:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
footer{padding:1rem;text-align:center;color:var(--soft);font-size:.8rem}
@media(max-width:24rem){main{padding:1.3rem}}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = [
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'".encode(),
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


@dataclass(frozen=True, slots=True)
class Page:
    """`text` are paragraphs; `reason` is what somebody wrote; `refresh_s` 0 = it stays as it is."""

    status: int
    mark: Mark
    title: str
    text: tuple[str, ...]
    reason: str = ""
    wrong: str = ""
    asks_key: bool = False
    refresh_s: int = 0
    retry_after_s: int = 0


def asleep(wrong: str = "", status: int = 401, retry_after_s: int = 0) -> Page:
    return Page(
        status,
        "resting",
        "This instance is asleep",
        ("Nobody has called it for a while. Any call with one of its keys wakes it, and so does this form.",),
        wrong=wrong,
        asks_key=True,
        retry_after_s=retry_after_s,
    )


def waking(retry_after_s: int) -> Page:
    return Page(
        503,
        "working",
        "Waking up",
        ("It is on its way, but others are ahead of it. This page looks again by itself.",),
        refresh_s=retry_after_s,
        retry_after_s=retry_after_s,
    )


def provisioning() -> Page:
    return Page(
        200,
        "working",
        "This instance is being set up",
        ("That takes a few moments. This page looks again by itself.",),
        refresh_s=3,
    )


def suspended(reason: str) -> Page:
    return Page(
        403,
        "stopped",
        "This instance is suspended",
        (
            "Calls to it are refused. Its data and its backups are kept.",
            "To have it resumed, talk to whoever runs this service, or look at your account there.",
        ),
        reason=reason,
    )


def failed(retry_after_s: int) -> Page:
    return Page(
        503,
        "stopped",
        "This instance cannot be started",
        (
            "Whoever runs this service has been shown why. Its data and its backups are kept.",
            "This page looks again by itself.",
        ),
        refresh_s=retry_after_s,
        retry_after_s=retry_after_s,
    )


def unknown() -> Page:
    return Page(
        404, "stopped", "No instance answers here", ("Check the address. An instance that was deleted is gone.",)
    )


def rendered(page: Page, slug: str, prefix: str) -> bytes:
    """The page as HTML. `prefix` is what the edge took off the path."""
    refresh = f'<meta http-equiv="refresh" content="{page.refresh_s}">' if page.refresh_s else ""
    reason = f'<p class="reason">{escape(page.reason)}</p>' if page.reason else ""
    text = "".join(f"<p>{escape(each)}</p>" for each in page.text)
    wrong = f'<p class="wrong" role="alert">{escape(page.wrong)}</p>' if page.wrong else ""
    form = (
        f'<form method="post" action="{escape(prefix)}/ui/wake"><label for="key">App or admin key</label>'
        '<input id="key" name="key" type="password" autocomplete="off" required autofocus placeholder="sy_…">'
        "<button>Wake it and go on</button></form>"
        if page.asks_key
        else ""
    )
    tenant = f'<p class="tenant"><span class="dot"></span>{escape(slug)}</p>' if slug else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{refresh}<title>{escape(page.title)}</title><style>{STYLE}</style></head>"
        f'<body><main class="{page.mark}">{tenant}<h1>{escape(page.title)}</h1>{reason}{text}{wrong}{form}</main>'
        "<footer>Stockyard</footer></body></html>"
    ).encode()
