"""The door of a sleeping tenant's console: what a browser at `/ui` is shown, and `/ui/wake`, where a key is entered."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from urllib.parse import parse_qs

from control_plane.domain.tenants import Status
from control_plane.routing import pages
from control_plane.routing.answers import UNAVAILABLE_RETRY_S, Send, send_body
from control_plane.routing.pages import Page
from control_plane.routing.snapshot import TenantView
from control_plane.routing.tries import Tries

WAKE_PATH = "/ui/wake"
FORM_MOST_BYTES = 4096
KINDS = ("app", "admin")  # a key that only calls the proxy opens no console
WRONG_KEYS = 10  # that may be entered for one tenant from one address
WRONG_KEYS_WITHIN_S = 600.0

Headers = Mapping[bytes, bytes]


class Door:
    """Decides what is shown and who is let in; wrong keys are counted by tenant and address."""

    def __init__(self) -> None:
        self._wrong = Tries(WRONG_KEYS, WRONG_KEYS_WITHIN_S)

    def turned_away(self, tenant: TenantView, headers: Headers, form: bytes) -> Page | None:
        """None for who entered a good key of a tenant that can be woken; else the page that says why not."""
        if tenant.status not in (Status.SUSPENDED, Status.FAILED):
            name = f"{address(headers)} {tenant.slug}"
            wait_s = math.ceil(self._wrong.wait_s(name))
            if wait_s:
                return pages.asleep("Too many wrong keys; wait some minutes.", 429, wait_s)
            entered = parse_qs(form.decode("latin-1")).get("key", [""])[0].strip()
            if tenant.admits([entered], time.time(), KINDS):
                return None
            self._wrong.take(name)
            return pages.asleep("That is no app or admin key of this instance.")
        return page_of(tenant)


def page_of(tenant: TenantView) -> Page:
    """What is the matter with the tenant."""
    if tenant.status is Status.SUSPENDED:
        return pages.suspended(tenant.reason)
    if tenant.status is Status.FAILED:
        return pages.failed(UNAVAILABLE_RETRY_S)
    if tenant.status is Status.PROVISIONING:
        return pages.provisioning()
    return pages.asleep()


def is_browser_at_console(method: str, path: str, headers: Headers) -> bool:
    """True for a person who opens a page of the console; not for what that page loads."""
    return method in ("GET", "HEAD") and is_console(path) and b"text/html" in headers.get(b"accept", b"")


def is_console(path: str) -> bool:
    """True for every path of the console."""
    return path == "/ui" or path.startswith("/ui/")


def address(headers: Headers) -> str:
    """Whom the edge saw: the last entry, which is its own."""
    return headers.get(b"x-forwarded-for", b"").rpartition(b",")[2].strip().decode("latin-1")


def prefix(headers: Headers) -> str:
    """What the edge took off the path."""
    return headers.get(b"x-forwarded-prefix", b"").decode("latin-1")


async def send_page(send: Send, page: Page, slug: str, headers: Headers) -> None:
    """Show it."""
    retry = [(b"retry-after", str(page.retry_after_s).encode())] if page.retry_after_s else []
    content = pages.rendered(page, slug, prefix(headers))
    await send_body(send, page.status, b"text/html; charset=utf-8", content, pages.HEADERS + retry)


async def send_on(send: Send, headers: Headers) -> None:
    """To the console itself."""
    location = f"{prefix(headers)}/ui/".encode("latin-1")
    await send_body(send, 303, b"text/plain", b"", [(b"location", location)])
