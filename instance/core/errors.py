"""Every error this product answers with: one registry of codes, one exception, one shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

INVALID = "invalid_request_error"
AUTHENTICATION = "authentication_error"
BILLING = "billing_error"
PERMISSION = "permission_error"
NOT_FOUND = "not_found_error"
CONFLICT = "conflict_error"
TOO_LARGE = "request_too_large"
RATE_LIMIT = "rate_limit_error"
INSUFFICIENT_QUOTA = "insufficient_quota"
API = "api_error"
OVERLOADED = "overloaded_error"
TIMEOUT = "timeout_error"


class ErrorCode(NamedTuple):
    """One code: its HTTP status, its type (names that the OpenAI and Anthropic SDKs know) and what it means.

    `retryable` is what `x-should-retry` says by default; `None` leaves the header away.
    """

    code: str
    status: int
    type: str
    summary: str
    retryable: bool | None = None


REGISTRY: dict[str, ErrorCode] = {
    row.code: row
    for row in (
        ErrorCode("bad_request", 400, INVALID, "The request cannot be understood."),
        ErrorCode("invalid_json", 400, INVALID, "The body is not valid JSON."),
        ErrorCode("model_required", 400, INVALID, "No model is named.", False),
        ErrorCode("context_length_exceeded", 400, INVALID, "The prompt does not fit into the model's window.", False),
        ErrorCode("previous_response_not_found", 400, INVALID, "The response to continue is not stored here.", False),
        ErrorCode("unknown_provider", 400, INVALID, "The named provider is not configured here."),
        ErrorCode("blocked_address", 400, INVALID, "The address is one that this instance must not reach."),
        ErrorCode("unsupported_parameter", 400, INVALID, "The provider does not understand this parameter.", False),
        ErrorCode(
            "shim_disabled", 400, INVALID, "The module that speaks this provider's dialect is switched off.", False
        ),
        ErrorCode(
            "killed_limit", 400, INVALID, "The call went over a limit on its length or cost and was ended.", False
        ),
        ErrorCode("killed_loop", 400, INVALID, "The answer repeated itself without end and was ended.", False),
        ErrorCode("content_filter", 400, INVALID, "The provider's content filter refused the request.", False),
        ErrorCode("secret_blocked", 400, INVALID, "The request holds a credential.", False),
        ErrorCode("pii_blocked", 400, INVALID, "The request or the answer holds personal data.", False),
        ErrorCode("injection_blocked", 400, INVALID, "A text of the request tries to give the model orders.", False),
        ErrorCode("content_blocked", 400, INVALID, "The request holds content of a category that is refused.", False),
        ErrorCode(
            "age_token_invalid", 400, INVALID, "The header that names the caller's age tier has a bad signature.", False
        ),
        ErrorCode("price_unknown", 400, INVALID, "The model has no price, and the policy asks for one.", False),
        ErrorCode(
            "invalid_schema", 400, INVALID, "The JSON Schema cannot be used, or there is none of that name.", False
        ),
        ErrorCode("prompt_lint", 400, INVALID, "The prompt has a fault that the operator refuses.", False),
        ErrorCode(
            "missing_variable", 400, INVALID, "The stored prompt needs a value that the call does not give.", False
        ),
        ErrorCode("invalid_variable", 400, INVALID, "A variable of the stored prompt cannot have this value.", False),
        ErrorCode("request_schema", 400, INVALID, "The request does not fit a JSON Schema of the operator's.", False),
        ErrorCode("tool_schema_invalid", 400, INVALID, "A tool's definition cannot be used.", False),
        ErrorCode("tool_result_unknown", 400, INVALID, "A tool's result answers no call that was made.", False),
        ErrorCode("batch_invalid_line", 400, INVALID, "A line of the batch is no call.", False),
        ErrorCode("image_invalid", 400, INVALID, "What was sent or named as an image cannot be read as one.", False),
        ErrorCode("image_too_large", 400, INVALID, "The image is too large, or there are too many.", False),
        ErrorCode("image_url_forbidden", 400, INVALID, "The image's address is none that is fetched from.", False),
        ErrorCode("unauthorized", 401, AUTHENTICATION, "No key, or an unknown one."),
        ErrorCode("key_revoked", 401, AUTHENTICATION, "The key was revoked."),
        ErrorCode("key_expired", 401, AUTHENTICATION, "The key has expired."),
        ErrorCode("client_required", 401, AUTHENTICATION, "The request belongs to no client.", False),
        ErrorCode("insufficient_credit", 402, BILLING, "This instance's account at the provider has no credit.", False),
        ErrorCode("quota_exceeded", 402, BILLING, "The plan's monthly quota is used up.", False),
        ErrorCode("forbidden", 403, PERMISSION, "The key may not do this."),
        ErrorCode("scope_missing", 403, PERMISSION, "The key lacks a scope."),
        ErrorCode("client_unknown", 403, PERMISSION, "The key may not speak for this client, or there is none.", False),
        ErrorCode("model_not_allowed", 403, PERMISSION, "The client may not use this model.", False),
        ErrorCode("policy_blocked", 403, PERMISSION, "A policy refuses the request.", False),
        ErrorCode("approval_required", 403, PERMISSION, "People must approve the call first.", False),
        ErrorCode("approval_denied", 403, PERMISSION, "People did not approve the call.", False),
        ErrorCode("not_an_approver", 403, PERMISSION, "This is for somebody else to decide."),
        ErrorCode("tool_denied", 403, PERMISSION, "A tool may not be offered or called, or nobody approved it.", False),
        ErrorCode("not_yours", 403, PERMISSION, "The call was made with another key."),
        ErrorCode("ip_denied", 403, PERMISSION, "The caller's address is not allowed.", False),
        ErrorCode(
            "off_topic", 403, PERMISSION, "The message or the answer is on a topic that this service is not for.", False
        ),
        ErrorCode("age_restricted", 403, PERMISSION, "The request is not for the caller's age.", False),
        ErrorCode("region_unavailable", 403, PERMISSION, "No target in a permitted region is left.", False),
        ErrorCode("prompt_required", 403, PERMISSION, "This key may only use stored prompts.", False),
        ErrorCode("size_not_allowed", 403, PERMISSION, "Images of this size or number may not be asked for.", False),
        ErrorCode("csrf_failed", 403, PERMISSION, "The form's token is missing or stale; load the page again."),
        ErrorCode("not_found", 404, NOT_FOUND, "There is nothing under this name."),
        ErrorCode("unknown_id", 404, NOT_FOUND, "No call has this id."),
        ErrorCode("fixture_missing", 404, NOT_FOUND, "No fixture and no recording fits the call.", False),
        ErrorCode("model_not_found", 404, NOT_FOUND, "No provider here serves this model.", False),
        ErrorCode(
            "prompt_not_found", 404, NOT_FOUND, "There is no stored prompt of this name, version or label.", False
        ),
        ErrorCode("method_not_allowed", 405, INVALID, "The path does not take this method."),
        ErrorCode("not_acceptable", 406, INVALID, "The answer is not available in the asked form."),
        ErrorCode("breakpoint_timeout", 408, TIMEOUT, "The call was held at a breakpoint and not released.", False),
        ErrorCode("already_exists", 409, CONFLICT, "The name is taken."),
        ErrorCode("conflict", 409, CONFLICT, "The state does not allow this."),
        ErrorCode("in_use", 409, CONFLICT, "Something else refers to it."),
        ErrorCode("stale_generation", 409, CONFLICT, "A newer desired state was applied already."),
        ErrorCode("idempotency_conflict", 409, CONFLICT, "The same Idempotency-Key came with another body."),
        ErrorCode("already_created", 409, CONFLICT, "It was created; its secret is shown only once."),
        ErrorCode("managed_by_control_plane", 409, CONFLICT, "The control plane decides this; change it there."),
        ErrorCode("set_by_env", 409, CONFLICT, "The environment or a flag sets this value and wins."),
        ErrorCode("last_admin_key", 409, CONFLICT, "The last admin key cannot be removed."),
        ErrorCode("approval_mismatch", 409, CONFLICT, "The ticket is for another request.", False),
        ErrorCode("confirmation_needed", 409, CONFLICT, "It may shut out whoever asks for it; confirm it.", False),
        ErrorCode("precondition_failed", 412, CONFLICT, "It was changed since it was read."),
        ErrorCode("body_too_large", 413, TOO_LARGE, "The body is over the limit."),
        ErrorCode("batch_too_large", 413, TOO_LARGE, "The batch, or one of its bodies, is over the limit.", False),
        ErrorCode("unsupported_media_type", 415, INVALID, "The body's type is not understood."),
        ErrorCode("invalid_value", 422, INVALID, "A field has a value that it cannot have."),
        ErrorCode("unknown_field", 422, INVALID, "There is no such field."),
        ErrorCode("missing_field", 422, INVALID, "A needed field is missing."),
        ErrorCode("bad_pattern", 422, INVALID, "The pattern does not compile."),
        ErrorCode("bad_template", 422, INVALID, "The text is no template; details say where."),
        ErrorCode("structured_output_failed", 422, INVALID, "No attempt gave an answer that fits the schema.", False),
        ErrorCode(
            "quality_rejected", 422, INVALID, "The answer was not good enough, and the operator refuses such.", False
        ),
        ErrorCode("response_schema", 422, INVALID, "The answer does not fit a JSON Schema of the operator's.", False),
        ErrorCode("tool_call_invalid", 422, INVALID, "The model called a tool in a way that is not allowed.", False),
        ErrorCode("answer_blocked", 422, INVALID, "The answer holds content of a category that is refused.", False),
        ErrorCode("unsupported_answer", 422, INVALID, "Too many statements of the answer are not supported.", False),
        ErrorCode("code_blocked", 422, INVALID, "The answer holds code that is refused.", False),
        ErrorCode("no_consensus", 422, INVALID, "The models that were asked do not agree.", False),
        ErrorCode("body_not_captured", 422, INVALID, "The call's text was not kept."),
        ErrorCode("rate_limited", 429, RATE_LIMIT, "Too many requests; wait as Retry-After says."),
        ErrorCode("tokens_per_minute", 429, RATE_LIMIT, "The request is over the provider's tokens per minute."),
        ErrorCode("request_loop", 429, RATE_LIMIT, "The same request was sent too often."),
        ErrorCode(
            "agent_stopped", 429, RATE_LIMIT, "The agent's session has reached a limit or goes in circles.", False
        ),
        ErrorCode("queue_full", 429, RATE_LIMIT, "As many jobs wait as may; wait as Retry-After says."),
        ErrorCode("keys_exhausted", 429, RATE_LIMIT, "Every key of the provider is cooling down."),
        ErrorCode("too_many_concurrent", 429, RATE_LIMIT, "Too many calls at the same time."),
        ErrorCode("client_limit", 429, RATE_LIMIT, "The client's limit is reached; wait as Retry-After says."),
        ErrorCode("usage_cap", 429, RATE_LIMIT, "The cap on usage is reached.", False),
        ErrorCode("budget_exceeded", 429, INSUFFICIENT_QUOTA, "The budget is used up.", False),
        ErrorCode("client_closed", 499, API, "The caller left."),
        ErrorCode("internal_error", 500, API, "Our fault; the trace id leads to it."),
        ErrorCode("not_supported", 501, INVALID, "This is not served here.", False),
        ErrorCode("provider_error", 502, API, "The provider failed."),
        ErrorCode("bad_upstream_response", 502, API, "The provider's answer is broken."),
        ErrorCode("all_targets_failed", 502, API, "Every target failed."),
        ErrorCode("provider_auth_failed", 502, API, "The provider refused this instance's key.", False),
        ErrorCode("provider_quota", 502, API, "This instance's account at the provider is out of credit.", False),
        ErrorCode("no_provider", 503, OVERLOADED, "No provider can take the call."),
        ErrorCode("breaker_open", 503, OVERLOADED, "The provider is being left alone after failures."),
        ErrorCode("no_valid_key", 503, OVERLOADED, "No key of the provider is accepted any more.", False),
        ErrorCode("local_unavailable", 503, OVERLOADED, "The local model server cannot take the call."),
        ErrorCode("ollama_unreachable", 503, OVERLOADED, "The Ollama server cannot be reached."),
        ErrorCode("module_failed", 503, OVERLOADED, "A module that must not be skipped failed."),
        ErrorCode("overloaded", 503, OVERLOADED, "Too much is in flight."),
        ErrorCode("audit_unavailable", 503, OVERLOADED, "Calls cannot be recorded now, so none are made."),
        ErrorCode("database_full", 503, OVERLOADED, "The database has reached its limit or the disk is full."),
        ErrorCode("draining", 503, OVERLOADED, "The instance is about to stop."),
        ErrorCode("key_lease_expired", 503, OVERLOADED, "The instance has lost its control plane for too long."),
        ErrorCode("tenant_suspended", 403, PERMISSION, "The tenant was suspended.", False),
        ErrorCode("timeout_connect", 504, TIMEOUT, "The provider did not accept a connection in time."),
        ErrorCode("timeout_first_token", 504, TIMEOUT, "The provider did not begin to answer in time."),
        ErrorCode("timeout_total", 504, TIMEOUT, "The call did not finish in time."),
        ErrorCode("timeout_stream", 504, TIMEOUT, "The provider's stream stopped."),
        ErrorCode("killed_stalled", 504, TIMEOUT, "Nothing came for too long, and the call was ended."),
        ErrorCode("cache_miss", 504, TIMEOUT, "Only the cache was asked, and it has no entry.", False),
    )
}


class StockyardError(Exception):
    """A refusal, turned into HTTP in one place.

    `message` says what to do next; `param` is the path of the offending field; `details` an object or list for
    programs; `headers` go out with the answer; `module` is who refused; `retryable` becomes `x-should-retry`. A code
    outside the registry belongs to a module of its own making and has its `status` given (400 if not).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
        module: str = "",
        retryable: bool | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(f"{code}: {message}")
        known = REGISTRY.get(code)
        self.code = code
        self.message = message
        self.status = known.status if known else status
        self.type = known.type if known else _type_of(status)
        self.param = param
        self.details = details
        self.headers: dict[str, str] = dict(headers) if headers else {}
        self.module = module
        self.unowned = False
        """Raised by the core itself where modules are around it: none of them refused."""
        self.retryable = known.retryable if retryable is None and known else retryable


def error_body(error: StockyardError, request_id: str = "", trace_id: str = "") -> dict[str, Any]:
    """The one shape in which every error leaves: `{"error": {…}}`; ids and details only when there are any."""
    shape: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "status": error.status,
        "type": error.type,
        "param": error.param,
    }
    if request_id:
        shape["request_id"] = request_id
    if trace_id:
        shape["trace_id"] = trace_id
    shape["doc"] = f"/docs/errors#{error.code}"
    if error.details is not None:
        shape["details"] = error.details
    return {"error": shape}


def _type_of(status: int) -> str:
    by_status = {401: AUTHENTICATION, 402: BILLING, 403: PERMISSION, 404: NOT_FOUND, 409: CONFLICT, 413: TOO_LARGE}
    by_status |= {429: RATE_LIMIT, 503: OVERLOADED, 504: TIMEOUT}
    return by_status.get(status, API if status >= 500 else INVALID)
