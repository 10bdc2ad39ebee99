"""Where Bedrock's runtime is in a region, and what a request to it carries: a signature or an API key."""

from __future__ import annotations

import re
from datetime import datetime

from instance.chute.upstream.url import UpstreamUrl
from instance.core.sigv4 import Credentials, signed_headers

SERVICE = "bedrock"
REGION_PATTERN = r"[a-z]{2}(?:-[a-z]+)+-\d"
_REGION = re.compile(REGION_PATTERN)
_AWS_HOST = re.compile(r"(bedrock-runtime(?:-fips)?)\.([a-z0-9-]+)(\.amazonaws\.com(?:\.cn)?)")


def is_region(text: str) -> bool:
    """Whether it is a region's name as AWS writes them (`eu-central-1`), and no label of one's own."""
    return _REGION.fullmatch(text) is not None


def region_of(url: UpstreamUrl | None) -> str:
    """The region that one of Amazon's own addresses names; empty for any other address."""
    found = _AWS_HOST.fullmatch(url.host) if url is not None else None
    return found[2] if found is not None else ""


def in_region(url: UpstreamUrl, region: str) -> UpstreamUrl:
    """One of Amazon's own addresses in another region; any other address as it is."""
    found = _AWS_HOST.fullmatch(url.host)
    if found is None or found[2] == region:
        return url
    return UpstreamUrl.parse(url.text.replace(url.host, f"{found[1]}.{region}{found[3]}", 1))


def credentials_in(key: str) -> Credentials | str:
    """A key as it is stored: `access:secret[:token]` is signed with, anything else is a Bedrock API key."""
    parts = key.split(":", 2)
    if len(parts) > 1 and parts[0].startswith(("AKIA", "ASIA")):
        return Credentials(parts[0], parts[1], parts[2] if len(parts) == 3 else "")
    return key


def authorized(
    credentials: Credentials | str, url: UpstreamUrl, path: str, body: bytes, region: str, at: datetime
) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of a POST of JSON that let it in."""
    if isinstance(credentials, str):
        return ((b"authorization", b"Bearer " + credentials.encode()),)
    host = url.fixed_headers.split(b"\r\n", 1)[0].partition(b": ")[2].decode()
    headers = signed_headers(
        credentials,
        method="POST",
        path=url.base_path.decode() + path,
        headers=[("host", host), ("content-type", "application/json")],
        body=body,
        region=region,
        service=SERVICE,
        at=at,
    )
    return tuple((name.encode(), value.encode("latin-1")) for name, value in headers)
