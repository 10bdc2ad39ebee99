"""The exceptions of Bedrock's runtime: the status and the code of ours that each stands for."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

STATUS_OF = {
    "accessdeniedexception": 403,
    "unrecognizedclientexception": 403,
    "invalidsignatureexception": 403,
    "expiredtokenexception": 403,
    "internalserverexception": 500,
    "modelerrorexception": 502,
    "modelnotreadyexception": 503,
    "modelstreamerrorexception": 502,
    "modeltimeoutexception": 504,
    "resourcenotfoundexception": 404,
    "servicequotaexceededexception": 429,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "validationexception": 400,
}
NOT_ENABLED = "the model must be enabled for this account (Bedrock console, Model access) and allowed by its IAM policy"


def exception_name(headers: Mapping[bytes, bytes], body: bytes) -> str:
    """The exception's name from the header, which may carry a URL after it, or from the body; empty when neither says."""
    name = headers.get(b"x-amzn-errortype", b"").decode("latin-1")
    if not name:
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            return ""
        name = str(said.get("__type") or said.get("code") or "") if isinstance(said, dict) else ""
    return name.partition(":")[0].rpartition("#")[2]


def message_of(body: bytes) -> str:
    """What the body says in words; empty when it says nothing."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(said, dict):
        return ""
    text = said.get("message") or said.get("Message")
    return text if isinstance(text, str) else ""


def status_of(name: str, otherwise: int = 502) -> int:
    return STATUS_OF.get(name.lower(), otherwise)


_CODES = {
    "accessdeniedexception": "forbidden",
    "modelnotreadyexception": "overloaded",
    "servicequotaexceededexception": "rate_limited",
    "serviceunavailableexception": "overloaded",
    "throttlingexception": "rate_limited",
}


def code_of(name: str) -> str:
    """The code of ours that says more than the status does; empty: none."""
    return _CODES.get(name.lower(), "")
