"""Ids that Mistral takes."""

from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.mistral.tool_ids import short_id, with_short_ids


@given(st.text(min_size=1, max_size=60))
def test_an_id_is_nine_letters_or_digits_and_stays_itself(call_id: str) -> None:
    found = short_id(call_id)
    assert len(found) == 9 and found.isascii() and found.isalnum()
    assert short_id(found) == found


def test_many_ids_stay_apart() -> None:
    assert len({short_id(f"call_{number}") for number in range(20_000)}) == 20_000


def test_a_message_with_short_ids_is_the_same_object() -> None:
    message = {"role": "tool", "tool_call_id": "abc123DEF", "content": "x"}
    assert with_short_ids(message) is message
