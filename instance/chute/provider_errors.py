"""What a provider's error body says, whatever its form, and which of our codes it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from html import unescape
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
import re2

MESSAGE_MAX_CHARACTERS = 1000
BODY_LOOKED_AT_BYTES = 64 << 10


class ProviderError(NamedTuple):
    """Message in plain text (no HTML), the provider's own code and type in lower case, and the field it names."""

    message: str = ""
    code: str = ""
    type: str = ""
    param: str = ""


def read_provider_error(body: bytes, headers: Mapping[bytes, bytes] | None = None) -> ProviderError:
    """What the body says: the JSON of OpenAI, Anthropic, Google, Azure, AWS, Cohere, Mistral, Replicate, Ollama, Cloudflare and
    FastAPI, SSE, XML, HTML, plain text, nothing. AWS names the kind of error in a header only."""
    error = _read_body(body[:BODY_LOOKED_AT_BYTES].strip())
    named = headers.get(b"x-amzn-errortype") if headers else None
    if named is not None and not error.type:
        # `ThrottlingException:http://internal.amazon.com/...`
        return error._replace(type=_name(named.decode("latin-1").partition(":")[0]))
    return error


def _read_body(body: bytes) -> ProviderError:
    if not body:
        return ProviderError()
    if body.startswith((b"data:", b"event:")):
        lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
        body = next((line for line in lines if line.startswith((b"{", b"["))), b"\n".join(lines))
    if body[:1] in (b"{", b"["):
        try:
            return _read_json(orjson.loads(body))
        except orjson.JSONDecodeError:
            pass
    text = body.decode("utf-8", "replace")
    if text.startswith("<") and "<html" not in text[:1024].lower():
        found = _XML_MESSAGE.search(text)
        if found:
            code = _XML_CODE.search(text)
            return ProviderError(_plain(unescape(found.group(1))), _name(code.group(1)) if code else "")
    if text.startswith("<") or "<html" in text[:1024].lower():
        return ProviderError(_page_title(text))
    return ProviderError(_plain(text))


def _read_json(body: Any) -> ProviderError:
    if isinstance(body, list):
        body = body[0] if body else {}
    if not isinstance(body, dict):
        return ProviderError(_plain(str(body)))
    error = body.get("error") or body.get("fault") or body
    if isinstance(error, list):
        error = error[0] if error else {}
    if isinstance(error, str):
        return ProviderError(
            _plain(_text(body.get("error_description")) or _text(body.get("message")) or error), _name(body.get("code"))
        )
    if not isinstance(error, dict):
        error = body
    message = ""
    for field in ("message", "msg", "detail", "error_description", "errors", "faultstring", "title"):
        message = _text(error.get(field))
        if message:
            break
    inner = error.get("innererror") or error.get("inner_error")
    code = _name(error.get("code"))
    kind = _name(error.get("type")) or _name(error.get("status")) or _name(error.get("__type")).rpartition("#")[2]
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str):
        # OpenRouter: what the provider behind it said.
        behind = _read_body(metadata["raw"].encode())
        message = f"{message}: {behind.message}" if behind.message else message
        code, kind = code or behind.code, kind or behind.type
    if isinstance(inner, dict) and isinstance(inner.get("code"), str):
        kind = kind or _name(inner["code"])
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("reason"), str):
            code = _name(detail["reason"])
    param = error.get("param")
    fields = body.get("invalid_fields")
    if not isinstance(param, str) and isinstance(fields, list) and fields and isinstance(fields[0], dict):
        param = fields[0].get("field")
    return ProviderError(_plain(message), code, kind, param if isinstance(param, str) else "")


_XML_MESSAGE = re.compile(r"<message>\s*([^<]{1,1000})", re.IGNORECASE)
_XML_CODE = re.compile(r"<code>\s*([^<]{1,100})", re.IGNORECASE)


def _name(value: Any) -> str:
    return value.strip().lower()[:100] if isinstance(value, str) else ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_text, value[:5])))
    if isinstance(value, dict):
        text = _text(value.get("message") or value.get("msg") or value.get("detail") or value.get("description"))
        place = value.get("loc")
        return f"{'.'.join(map(str, place))}: {text}" if text and isinstance(place, list) else text
    return ""


def _plain(text: str) -> str:
    """One line without control characters; markup inside it is dropped."""
    if "<" in text and re.search(r"<(?:!doctype|html|head|body|h1|p|div)\b", text, re.IGNORECASE):
        text = _page_title(text)
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MESSAGE_MAX_CHARACTERS]).split())[
        :MESSAGE_MAX_CHARACTERS
    ]


def _page_title(page: str) -> str:
    """What an HTML page is about: its title, else its first heading."""
    for tag in ("title", "h1"):
        found = re.search(rf"<{tag}[^>]*>([^<]{{1,300}})", page, re.IGNORECASE)
        if found:
            return " ".join(unescape(found.group(1)).replace("<", " ").replace(">", " ").split())
    return ""


_CONTEXT = re.compile(
    r"maximum context length|context[ _]window|context[ _]length|prompt is too long|input is too long|too many (?:input )?tokens"
    r"|exceeds? the (?:maximum|model'?s?|max)[^.]{0,40}(?:token|context)|reduce the length"
)
_QUOTA = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|credit balance is too low|billing (?:hard )?limit|out of credits?"
    r"|exceeded your current quota|account (?:is )?(?:not active|suspended|deactivated)|payment required"
)
_QUOTA_CODES = frozenset(
    (
        "insufficient_quota",
        "insufficient_balance",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "credits_exhausted",
    )
)
_FILTER_CODES = frozenset(
    (
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "data_inspection_failed",
        "moderation_blocked",
    )
)
_LIMIT_CODES = frozenset(
    ("throttlingexception", "toomanyrequestsexception", "servicequotaexceededexception", "rate_limit_exceeded")
)
"""Names of a rate limit that AWS and others send with another status than 429."""
_MODEL_CODES = frozenset(("model_not_found", "deploymentnotfound", "modelnotfound"))
_AUTH_CODES = frozenset(
    ("invalid_api_key", "api_key_invalid", "authentication_error", "invalid_authentication", "unauthenticated")
)
_MODEL = re.compile(r"\bmodel\b|\bdeployment\b")
_BY_STATUS = {
    404: "not_found",
    408: "provider_error",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def classify(status: int, error: ProviderError, *, asks_to_wait: bool = False) -> str:
    """Our code for a provider's error status and body. `asks_to_wait`: it said when to try again, so no quota is used up for good."""
    text = error.message.lower()
    names = (error.code, error.type)
    if status == 402 or any(name in _QUOTA_CODES for name in names):
        return "provider_quota"
    if status in (400, 403, 429) and _QUOTA.search(text) and not asks_to_wait and "resource_exhausted" not in names:
        return "provider_quota"
    if status in (401, 403) or (status == 400 and any(name in _AUTH_CODES for name in names)):
        return "provider_auth_failed"
    if status == 429 or (400 <= status < 500 and any(name in _LIMIT_CODES for name in names)):
        return "rate_limited"
    if not 400 <= status < 500:
        return "provider_error"
    if any(name in _FILTER_CODES for name in names):
        return "content_filter"
    if "context_length_exceeded" in names or (status in (400, 413, 422) and _CONTEXT.search(text)):
        return "context_length_exceeded"
    if any(name in _MODEL_CODES for name in names) or (status == 404 and _MODEL.search(text)):
        return "model_not_found"
    return _BY_STATUS.get(status, "bad_request")


_KEY = re.compile(
    r"(?i:\bbearer\s+)[A-Za-z0-9._~+/*-]{6,}=*"
    r"|\b(?:sk|rk|pk|gsk|xai|pplx|fw|nvapi|hf|r8|tgp)[-_][A-Za-z0-9*._-]{4,}"
    r"|\bAIza[A-Za-z0-9_*-]{4,}|\bsy_[A-Za-z0-9_*-]{6,}"
    r"|(?<=key: )[A-Za-z0-9*._-]{6,}|(?<=key=)[A-Za-z0-9*._-]{6,}|(?<=provided: )[A-Za-z0-9*._-]{6,}"
)
_URL = re.compile(r"\b(?:https?|wss?|unix|tcp|redis|postgres(?:ql)?)://[^\s\"'<>)\]}]+")
_HOST_AND_PORT = re2.compile(
    r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b|\b(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:internal|local|svc|lan|cluster))(?::\d{1,5})?\b"
)


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """The text without keys (also parts of them as providers quote them, and `secrets` whole) and without internal addresses."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, "[key]")
    text = _KEY.sub("[key]", text)
    text = _URL.sub(_if_internal(_url_host), text)
    shown: str = _HOST_AND_PORT.sub(_if_internal(lambda found: found.partition(":")[0]), text)
    return shown


def _url_host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _if_internal(host_of: Callable[[str], str]) -> Callable[[re.Match[str]], str]:
    def replace(found: re.Match[str]) -> str:
        return "[internal address]" if _internal(host_of(found.group())) else found.group()

    return replace


def _internal(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        name = host.lower().rstrip(".")
        return "." not in name or name.endswith((".internal", ".local", ".svc", ".lan", ".cluster", ".localhost"))
