"""Which names a tenant may have, and the addresses that follow from one."""

from __future__ import annotations

import re
from typing import NamedTuple

PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{1,38}[a-z0-9]")
RESERVED = frozenset(
    ["www", "api", "app", "admin", "console", "status", "docs", "health", "mail", "ns1", "ns2", "static", "t", "v1"]
)
TOMBSTONE_S = 90 * 86_400  # how long a deleted tenant's slug stays with its account


def slug_problem(slug: str, reserved: tuple[str, ...] = ()) -> str | None:
    """Why this slug cannot be had by anybody, as a sentence that says what to do; None when it can."""
    if not PATTERN.fullmatch(slug):
        return "a slug has 3 to 40 of a-z, 0-9 and -, and neither begins nor ends with -"
    if slug in RESERVED or slug in reserved:
        return f"the slug `{slug}` is reserved; choose another"
    return None


class Addresses(NamedTuple):
    """Where a tenant answers: `url` for the OpenAI SDK, `root_url` for the Anthropic SDK and the apps."""

    url: str
    root_url: str
    host_url: str


def addresses(slug: str, domain: str, edge_listen: str) -> Addresses:
    """By path in development (`domain` localhost: works without DNS), by host name otherwise."""
    if domain != "localhost":
        root = f"https://{slug}.{domain}"
        return Addresses(f"{root}/v1", root, f"{root}/v1")
    host, _, port = edge_listen.rpartition(":")
    reachable = "127.0.0.1" if host in ("0.0.0.0", "", "[::]", "::") else host
    root = f"http://{reachable}:{port}/t/{slug}"
    return Addresses(f"{root}/v1", root, f"http://{slug}.localhost:{port}/v1")
