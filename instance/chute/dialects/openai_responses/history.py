"""`previous_response_id` and references to items, resolved from what is stored here before the call is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.call import ResponseCall
from instance.chute.dialects.openai_responses.input_items import kind_of
from instance.chute.dialects.openai_responses.item_ids import is_ours, response_of
from instance.chute.dialects.openai_responses.store import ResponseStore
from instance.chute.dialects.openai_responses.stored_response import gone
from instance.chute.dialects.openai_responses.translation import bad
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange

DIALECT = "openai.responses"


def refers(call: ResponseCall) -> bool:
    """Whether the request points at something stored."""
    if call.native.get("previous_response_id"):
        return True
    return any(kind_of(item) == "item_reference" and response_of(str(item.get("id"))) for item in call.items)


async def resolve(x: Exchange, call: ResponseCall, store: ResponseStore) -> bool:
    """Put stored items in the place of what refers to them; whether there were any.

    A response that a provider keeps narrows the call to this provider. Raises `previous_response_not_found`, `bad_request`.
    """
    previous = call.native.get("previous_response_id")
    changed = False
    if previous:
        conversation = await store.conversation(previous, call.owner)
        if not conversation:
            _leave_to_provider(x, call, previous, await store.known(previous))
        elif conversation[-1].provider:
            _only(x, previous, conversation[-1].provider)
            call.native_only = ("previous_response_id", "a response that another provider keeps")
        else:
            call.history = [item for one in conversation for item in one.items]
            call.ancestors = tuple(one.id for one in conversation)
            changed = True
    return await _references(call, store) or changed


def _leave_to_provider(x: Exchange, call: ResponseCall, previous: str, known: bool) -> None:
    """An id that is unknown here may be one of the provider's own, made before or beside this instance."""
    speaks = any(DIALECT in target.provider.speaks for target in x.targets)
    if known or is_ours(previous) or not speaks:
        raise gone(previous)
    call.native_only = ("previous_response_id", "a response that is not stored here")


def _only(x: Exchange, previous: str, provider: str) -> None:
    asked = bool(x.targets)
    x.targets = [target for target in x.targets if target.provider.name == provider]
    x.allow.append(lambda target: target.provider.name == provider)
    if asked and not x.targets:
        raise StockyardError(
            "bad_request",
            f"The response {previous!r} is kept by the provider {provider!r}, which does not serve this model.",
            param="previous_response_id",
            retryable=False,
        )


async def _references(call: ResponseCall, store: ResponseStore) -> bool:
    """Own items named by their id, in place; one that the history holds already is left out."""
    made: list[JSON] = []
    changed = False
    there = {item.get("id") for item in call.history}
    for index, item in enumerate(call.items):
        wanted = str(item.get("id")) if kind_of(item) == "item_reference" else ""
        response_id = response_of(wanted) if wanted else ""
        if not response_id:
            made.append(item)
            continue
        changed = True
        if wanted in there:
            continue
        one = await store.one(response_id, call.owner)
        found = next((kept for kept in one.items if kept.get("id") == wanted), None) if one is not None else None
        if found is None:
            raise bad(f"input[{index}].id", f"There is no stored item {wanted!r}.")
        made.append(found)
    call.items = made
    return changed


def without_ids(items: list[JSON]) -> list[JSON]:
    """Stored items for a provider that speaks Responses: it knows neither our ids nor what another provider thought."""
    made: list[JSON] = []
    for item in items:
        if item.get("type") == "reasoning":
            encrypted = item.get("encrypted_content")
            if not isinstance(encrypted, str) or encrypted.startswith("sy1."):
                continue
        if isinstance(item.get("id"), str) and response_of(item["id"]):
            item = {name: value for name, value in item.items() if name not in ("id", "status")}
        made.append(item)
    return made
