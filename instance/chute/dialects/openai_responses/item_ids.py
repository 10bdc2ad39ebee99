"""Ids of what is answered here: a response's and those of its items, from which their response is found again."""

from __future__ import annotations

from instance.core.ids import ULID_LENGTH, new_id

RESPONSE = "resp_"
MESSAGE = "msg_"
FUNCTION_CALL = "fc_"
CUSTOM_CALL = "ctc_"
REASONING = "rs_"


def new_response_id() -> str:
    return new_id(RESPONSE)


def is_ours(response_id: str) -> bool:
    """Whether a response's id was made here, by its form: a provider's own are longer."""
    return response_id.startswith(RESPONSE) and len(response_id) == len(RESPONSE) + ULID_LENGTH


def output_item_id(response_id: str, prefix: str, index: int) -> str:
    """The id of the response's output item at `index`: `msg_<ULID of the response>_0`."""
    return f"{prefix}{response_id[len(RESPONSE) :]}_{index}"


def input_item_id(response_id: str, index: int) -> str:
    """The id of the request's input item at `index`, where the caller gave none."""
    return f"in_{response_id[len(RESPONSE) :]}_{index}"


def response_of(item_id: str) -> str:
    """The id of the response that an item id was made for; empty when the item is none of ours."""
    parts = item_id.split("_")
    if len(parts) != 3 or len(parts[1]) != ULID_LENGTH:
        return ""
    return RESPONSE + parts[1]
