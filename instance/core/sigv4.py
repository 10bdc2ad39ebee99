"""AWS Signature Version 4 of one HTTP request.

As AWS documents it: the canonical request is hashed, the hash is signed with a key that is derived from the secret key for one
day, region and service. Paths are encoded once more than they are on the wire, as every service but S3 wants it; S3 takes them as
they are, and the body's hash in a header of its own.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
KEYS_KEPT = 64
"""Derived keys that are remembered: one for each secret, day, region and service."""
_SPACES = re.compile(" +")
_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key. `expires_at` in seconds since 1970; 0: never."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    expires_at: float = 0.0


def signed_headers(
    credentials: Credentials,
    *,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    region: str,
    service: str,
    at: datetime,
    query: str = "",
) -> list[tuple[str, str]]:
    """The headers that make the request a signed one. `path` and `query` as on the wire; `headers` are those that are signed
    beside the date and the session's token: `host` at least."""
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    content = sha256(body).hexdigest()
    made = [("x-amz-date", stamp)]
    if service == "s3":
        made.append(("x-amz-content-sha256", content))
    if credentials.session_token:
        made.append(("x-amz-security-token", credentials.session_token))
    signed = _canonical_headers([*headers, *made])
    names = ";".join(signed)
    request = "\n".join(
        (
            method,
            path if service == "s3" else canonical_path(path),
            canonical_query(query),
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            names,
            content,
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((ALGORITHM, stamp, scope, sha256(request.encode()).hexdigest()))
    key = _signing_key(credentials.secret_key, stamp[:8], region, service)
    signature = hmac.new(key, text.encode(), sha256).hexdigest()
    authorization = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return [*made, ("authorization", authorization)]


def canonical_path(path: str) -> str:
    """The path encoded once more: what is `%3A` on the wire is signed as `%253A`. A name that is not encoded on the wire is
    encoded here; dots and doubled slashes are resolved."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(quote(part, safe=_UNRESERVED))
    end = "/" if parts and path.endswith(("/", "/.", "/..")) else ""
    return "/" + "/".join(parts) + end


def canonical_query(query: str) -> str:
    """The query's fields, as they are on the wire, in order of name and value."""
    fields = [one.partition("=")[::2] for one in query.split("&") if one]
    return "&".join(f"{name}={value}" for name, value in sorted(fields))


def _canonical_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(_SPACES.sub(" ", value.strip()))
    return {name: ",".join(found[name]) for name in sorted(found)}


@lru_cache(maxsize=KEYS_KEPT)
def _signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    key = ("AWS4" + secret_key).encode()
    for step in (day, region, service, "aws4_request"):
        key = hmac.new(key, step.encode(), sha256).digest()
    return key
