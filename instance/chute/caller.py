"""Who makes a call and what its headers ask for."""

from __future__ import annotations

import re
from difflib import get_close_matches
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from instance.chute.exchange import Exchange
from instance.core.errors import StockyardError
from instance.core.keys import hash_key
from instance.core.principals import CLIENT_TEAM

if TYPE_CHECKING:
    from instance.core.principals import KeyTable, Principal

KEY_MAX_BYTES = 512
LABEL_MAX = 128
TAGS_MAX = 16
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

KNOWN_HEADERS = frozenset(
    [
        "provider",
        "model",
        "fallback",
        "cache",
        "cache-ttl-s",
        "trace",
        "region",
        "client",
        "age-tier",
        "approval",
        "mock",
        "debug",
        "request-id",
        "parent-id",
        "session",
        "user",
        "project",
        "team",
        "tags",
        "template",
        "template-vars",
        "schema",
        "timeout-s",
        "max-cost-usd",
        "priority",
        "async",
        "route",
        "memory",
        "feedback",
        "key",
    ]
)


def presented_key(headers: dict[bytes, bytes]) -> str:
    """The key of a call to `/v1/*`: Bearer, `x-api-key` or `api-key`. Raises `unauthorized`, `bad_request` for two of them."""
    found = headers.get(b"x-stockyard-key", b"")
    if not found:
        authorization = headers.get(b"authorization")
        if authorization is not None:
            kind, _, found = authorization.partition(b" ")
            found = found.strip()
            if not found or (kind != b"Bearer" and kind.lower() != b"bearer"):
                raise StockyardError("unauthorized", "Send the key as `Authorization: Bearer KEY`.")
        if b"x-api-key" in headers or b"api-key" in headers:
            for name in (b"x-api-key", b"api-key"):
                other = headers.get(name)
                if other is not None and other != found:
                    if found:
                        raise StockyardError("bad_request", "The request carries two different keys; send one.")
                    found = other
    if not found:
        raise StockyardError("unauthorized", "A key is needed: send it as `Authorization: Bearer sk-sy-…`.")
    if len(found) > KEY_MAX_BYTES or not found.isascii():
        raise StockyardError("unauthorized", "The key is malformed.")
    return found.decode("ascii")


def authenticate(headers: dict[bytes, bytes], keys: KeyTable, wall_ns: int, client_ip: str) -> Principal:
    """The principal that may call the proxy with this key from this address; raises `StockyardError`.

    A key for many clients speaks for the one that the request names.
    """
    principal = keys.lookup(hash_key(presented_key(headers)), wall_ns)
    if principal.multi_client:
        principal = keys.for_client(principal, headers.get(keys.client_header))
    if not principal.may_call:
        raise StockyardError(
            "scope_missing",
            "This key may not call the proxy: it lacks the scope proxy:call.",
            details={"scope": "proxy:call"},
        )
    if principal.ip_allow and not _address_allowed(client_ip, principal.ip_allow):
        raise StockyardError("ip_denied", "This key may not be used from this address.")
    return principal


def _address_allowed(address: str, networks: tuple[str, ...]) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in ip_network(network, strict=False) for network in networks)


def model_allowed(principal: Principal, model: str) -> None:
    """Raise `forbidden` when the key is narrowed to other models."""
    if principal.models and not any(fnmatchcase(model, glob) for glob in principal.models):
        raise StockyardError("forbidden", f"This key may not use the model {model!r}.", param="model")


def _label(headers: dict[bytes, bytes], name: bytes, alias: bytes = b"") -> str:
    value = headers.get(name) or (headers.get(alias) if alias else None)
    return value.decode("utf-8", "replace")[:LABEL_MAX] if value else ""


def take_labels(x: Exchange) -> None:
    """Fill in who and what for from the key and the request's headers. A bad value raises `bad_request` with its header.

    Unknown `X-Stockyard-*` headers are ignored and named in `x.warnings` with the nearest valid name.
    """
    headers = x.headers
    principal = x.principal
    assert principal is not None
    x.team = str(principal.team or "")
    if principal.client:
        x.client = principal.client
    x.user = str(principal.user or "")
    agent = headers.get(b"user-agent")
    if agent:
        x.user_agent = agent.decode("latin-1")
    own = headers.get(b"x-stockyard-request-id") or headers.get(b"x-trace-id")
    if own:
        text = own.decode("latin-1")
        if not REQUEST_ID.fullmatch(text):
            raise StockyardError(
                "bad_request",
                "A request id has 1 to 64 characters of A-Z a-z 0-9 _ . : -",
                param="X-Stockyard-Request-Id",
            )
        x.request_id = text
    named = False
    for header in headers:
        if header.startswith(b"x-"):
            named = True
            if header.startswith(b"x-stockyard-"):
                name = header[12:].decode("latin-1")
                if name not in KNOWN_HEADERS:
                    near = get_close_matches(name, KNOWN_HEADERS, 1)
                    x.warnings.append(
                        f"unknown header X-Stockyard-{name}"
                        + (f", did you mean X-Stockyard-{near[0]}?" if near else "")
                    )
    if not named:
        return
    x.parent_id = _label(headers, b"x-stockyard-parent-id", b"x-parent-id")
    x.session = _label(headers, b"x-stockyard-session", b"x-agent-session")
    x.user = _label(headers, b"x-stockyard-user", b"x-user-id") or x.user
    x.project = _label(headers, b"x-stockyard-project", b"x-project") or "default"
    if not x.team:
        x.team = _label(headers, b"x-stockyard-team", b"x-team")
        if x.team.startswith(CLIENT_TEAM):
            x.team = ""
            raise StockyardError(
                "bad_request", f"{CLIENT_TEAM} begins the team of a client's own key.", param="X-Stockyard-Team"
            )
    tags = headers.get(b"x-stockyard-tags")
    if tags:
        x.tags = _tags(tags.decode("utf-8", "replace"))
    feature = _label(headers, b"x-feature")
    if feature:
        x.tags = {"feature": feature, **x.tags}


def take_user(x: Exchange) -> None:
    """Fill in the user that the body names, where no header does. After its operation has read the body."""
    user = x.req.get("user")
    if user and type(user) is str:
        headers = x.headers
        if not headers.get(b"x-stockyard-user") and not headers.get(b"x-user-id"):
            x.user = user[:LABEL_MAX]


def _tags(text: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or not key or len(key) > 64 or len(value) > LABEL_MAX:
            raise StockyardError(
                "bad_request", "Tags are written k=v,k=v with at most 64+128 characters each.", param="X-Stockyard-Tags"
            )
        tags[key] = value
    if len(tags) > TAGS_MAX:
        raise StockyardError("bad_request", f"At most {TAGS_MAX} tags.", param="X-Stockyard-Tags")
    return tags
