"""Is a request signed with AWS Signature Version 4? Written from AWS's description of it, without our signer's code."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from instance.mock_upstream.checking import refused
from instance.mock_upstream.exchange import Call

CLOCK_SKEW_MAX_S = 300
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/"
    r"aws4_request,\s*SignedHeaders=(?P<headers>[a-z0-9;_-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


def verify(call: Call, secrets: Mapping[str, str], service: str, now_s: float) -> None:
    """Raises Refused(403), as AWS does, unless the signature holds; `secrets` are the secret keys by key id."""
    given = call.headers.get("authorization", "")
    if not given:
        raise refused(403, "Missing Authentication Token", kind="MissingAuthenticationTokenException")
    found = _AUTHORIZATION.fullmatch(given)
    if found is None:
        raise refused(403, "Authorization header is not well-formed.", kind="IncompleteSignatureException")
    secret = secrets.get(found["key"])
    if secret is None:
        raise refused(403, "The security token included in the request is invalid.", kind="UnrecognizedClientException")
    stamp = call.headers.get("x-amz-date", "")
    scope = f"{found['date']}/{found['region']}/{found['service']}/aws4_request"
    signed = found["headers"].split(";")
    _check_frame(call, found["service"], service, found["date"], stamp, signed, now_s)
    body_hash = hashlib.sha256(call.body).hexdigest()
    if call.headers.get("x-amz-content-sha256", body_hash) != body_hash:
        raise refused(403, "The provided x-amz-content-sha256 is not the body's.", kind="InvalidSignatureException")
    canonical = canonical_request(call, signed, body_hash)
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    wanted = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, found["signature"]):
        raise refused(
            403,
            "The request signature we calculated does not match the signature you provided. The Canonical String for "
            f"this request should have been\n'{canonical}'\n\nThe String-to-Sign should have been\n'{to_sign}'",
            kind="InvalidSignatureException",
        )


def _check_frame(
    call: Call, service: str, wanted_service: str, date: str, stamp: str, signed: list[str], now_s: float
) -> None:
    if service != wanted_service:
        message = f"Credential should be scoped to correct service: '{wanted_service}'."
        raise refused(403, message, kind="InvalidSignatureException")
    needed = {"host", *(name for name in call.headers if name.startswith("x-amz-"))}
    missing = sorted(needed - set(signed))
    if missing or signed != sorted(signed):
        message = f"'{(missing or signed)[0]}' must be a 'SignedHeader', and they are sorted."
        raise refused(403, message, kind="InvalidSignatureException")
    try:
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise refused(403, "Date must be in ISO-8601 'basic format'.", kind="IncompleteSignatureException") from None
    if not stamp.startswith(date) or abs(moment - now_s) > CLOCK_SKEW_MAX_S:
        raise refused(403, f"Signature expired: {stamp} is not near the time here.", kind="InvalidSignatureException")


def canonical_request(call: Call, signed: list[str], body_hash: str) -> str:
    """The request in the one spelling that is signed: the path's segments are encoded once more than on the wire."""
    path, _, query = call.path.partition("?")
    uri = "/".join(quote(segment, safe="-_.~") for segment in path.split("/"))
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    headers = "".join(f"{name}:{' '.join(call.headers.get(name, '').split())}\n" for name in signed)
    named = "&".join(f"{name}={value}" for name, value in pairs)
    return "\n".join([call.method, uri or "/", named, headers, ";".join(signed), body_hash])
