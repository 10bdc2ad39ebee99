"""`/v1/responses/{id}`: stored responses of this key's team, and those that a provider keeps, asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.store import ResponseStore
from instance.chute.dialects.openai_responses.stored_response import StoredResponse, owner_of
from instance.chute.dialects.openai_responses.translation import bad, not_supported
from instance.chute.upstream import UpstreamError
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.side_routes import SideCall

PREFIX = "/v1/responses/"
ANSWER_MAX_BYTES = 32 << 20
CONNECT_TIMEOUT_S = 5.0
LIMIT_DEFAULT = 20
LIMIT_MAX = 100


async def stored_response(call: SideCall) -> tuple[int, Any]:
    """`GET` and `DELETE` of a response, `POST …/cancel`, `GET …/input_items`; 404 for what is not the caller's."""
    response_id, _, rest = call.path[len(PREFIX) :].partition("/")
    method = "GET" if call.method == "HEAD" else call.method
    allowed = {"": ("GET", "DELETE"), "cancel": ("POST",), "input_items": ("GET",)}.get(rest)
    if allowed is None or not response_id:
        raise StockyardError("not_found", f"There is no {call.path} here.")
    if response_id in ("input_tokens", "compact") and not rest:
        raise StockyardError("not_supported", f"{call.path} is not served here.")
    if method not in allowed:
        raise StockyardError("method_not_allowed", f"Use {allowed[0]}.", headers={"Allow": ", ".join(allowed)})
    query = parse_qs(call.query.decode("latin-1"))
    if query.get("stream", [""])[-1].lower() == "true":
        raise not_supported("stream", "A stored response is given whole; leave `stream` away.")
    store: ResponseStore = call.chute.core.services["responses"]
    one = await store.one(response_id, owner_of(call.principal))
    if one is None:
        raise StockyardError("not_found", f"There is no stored response {response_id!r}.", retryable=False)
    if one.provider:
        return await _ask_provider(call, one, rest, method, store)
    if rest == "cancel":
        raise StockyardError("bad_request", "Only a response in the background can be cancelled.", retryable=False)
    if rest == "input_items":
        return 200, _listed(one.input, query)
    if method == "DELETE":
        await store.delete(one.id)
        return 200, {"id": one.id, "object": "response", "deleted": True}
    return 200, one.response


def _listed(items: list[JSON], query: dict[str, list[str]]) -> JSON:
    """One page of input items, newest first unless `order=asc`, after the id in `after`."""
    order = query.get("order", ["desc"])[-1]
    if order not in ("asc", "desc"):
        raise bad("order", "`order` is asc or desc.")
    given = query.get("limit", [str(LIMIT_DEFAULT)])[-1]
    if not given.isdecimal() or not 1 <= int(given) <= LIMIT_MAX:
        raise bad("limit", f"`limit` is a number from 1 to {LIMIT_MAX}.")
    ordered = items if order == "asc" else items[::-1]
    after = query.get("after", [""])[-1]
    if after:
        place = next((index for index, item in enumerate(ordered) if item.get("id") == after), None)
        if place is None:
            raise bad("after", f"There is no item {after!r} in this response.")
        ordered = ordered[place + 1 :]
    page = ordered[: int(given)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(ordered) > len(page),
    }


async def _ask_provider(
    call: SideCall, one: StoredResponse, rest: str, method: str, store: ResponseStore
) -> tuple[int, Any]:
    """What the provider that keeps the response says. Its own refusals keep their status."""
    provider = call.chute.providers.get(one.provider)
    if provider is None or provider.openai_url is None:
        raise StockyardError(
            "no_provider", f"The provider {one.provider!r}, which keeps this response, is not here any more."
        )
    path = f"/responses/{quote(one.id, safe='')}" + (f"/{rest}" if rest else "")
    if call.query and method == "GET":
        path += "?" + call.query.decode("latin-1")
    try:
        response = await provider.send(
            path.encode("latin-1"),
            b"",
            {},
            stream=False,
            headers=[],
            connect_timeout_s=CONNECT_TIMEOUT_S,
            url=provider.openai_url,
            method=method.encode(),
        )
        raw = await response.read(ANSWER_MAX_BYTES)
    except UpstreamError as error:
        raise StockyardError("provider_error", f"The provider {one.provider!r} could not be asked: {error}.") from error
    if response.status in (401, 403):
        raise StockyardError("provider_auth_failed", f"The provider {one.provider!r} refused this instance's key.")
    try:
        obj = orjson.loads(raw) if raw else {"id": one.id, "object": "response", "deleted": method == "DELETE"}
    except orjson.JSONDecodeError as error:
        raise StockyardError("bad_upstream_response", f"The provider {one.provider!r} answered no JSON.") from error
    if response.status == 404 or (response.status < 300 and method == "DELETE"):
        await store.delete(one.id)
    if response.status >= 500:
        raise StockyardError("provider_error", f"The provider {one.provider!r} answered {response.status}.")
    return response.status, obj
