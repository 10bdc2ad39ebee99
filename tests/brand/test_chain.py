"""The hash chain by itself."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.brand.chain import (
    INTEGER_MAX,
    VERSION,
    ZERO_HASH,
    Verdict,
    Walk,
    canonical,
    entry_hash,
    require_canonical,
    verify,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.text(st.characters(max_codepoint=127), max_size=8)
integers = st.integers(-INTEGER_MAX, INTEGER_MAX)
values = st.recursive(
    st.none() | st.booleans() | integers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
entries = st.fixed_dictionaries(
    {
        "seq": st.integers(1, INTEGER_MAX),
        "created_at": texts,
        "event_type": texts,
        "actor": texts,
        "resource": texts,
        "action": texts,
        "detail": st.dictionaries(keys, values, max_size=5),
        "trace_id": st.none() | texts,
    }
)


@settings(max_examples=60, deadline=None)
@given(entries)
def test_the_canonical_form_is_rfc_8785(entry: dict[str, Any]) -> None:
    assert canonical(entry) == rfc8785.dumps({"v": VERSION, **entry})


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(keys, values, max_size=5))
def test_what_is_accepted_is_written_as_rfc_8785_writes_it(detail: dict[str, Any]) -> None:
    require_canonical(detail)


@pytest.mark.parametrize(
    ("detail", "place"),
    [
        ({"a": [0.5]}, "detail.a[0]"),
        ({"a": {"b": INTEGER_MAX + 1}}, "detail.a.b"),
        ({"ä": 1}, "detail"),
        ({"a": "\ud800"}, "detail.a"),
        ({"a": object()}, "detail.a"),
    ],
)
def test_what_the_canonical_form_cannot_hold_is_refused_with_its_place(detail: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=place.replace("[", r"\[").replace("]", r"\]")):
        require_canonical(detail)


def test_a_detail_that_is_nested_too_deeply_is_refused() -> None:
    detail: dict[str, Any] = {}
    for _ in range(100):
        detail = {"a": detail}
    with pytest.raises(ValueError, match="deeper"):
        require_canonical(detail)


def chain(length: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    prev = ZERO_HASH
    for seq in range(1, length + 1):
        entry: dict[str, Any] = {
            "seq": seq,
            "created_at": f"2026-01-01T00:00:00.{seq:06d}Z",
            "event_type": "proxy_request",
            "actor": "key:1",
            "resource": "mock/gpt",
            "action": "chat.completion",
            "detail": {"tokens_in": seq},
            "trace_id": f"tr_{seq}",
        }
        own = entry_hash(prev, canonical(entry))
        made.append({**entry, "prev_hash": prev.hex(), "hash": own.hex()})
        prev = own
    return made


def broken(verdict: Verdict) -> tuple[bool, int | None, str | None]:
    return verdict.valid, verdict.broken_at, verdict.reason


def test_an_untouched_chain_holds_and_ends_with_its_head() -> None:
    whole = chain(5)
    verdict = verify(whole)
    assert verdict == Verdict(True, 5, 1, 5, whole[-1]["hash"])


def test_an_empty_chain_holds() -> None:
    assert verify([]).valid


@pytest.mark.parametrize(
    "field", ["created_at", "event_type", "actor", "resource", "action", "detail", "trace_id", "hash", "extra", "id"]
)
def test_a_changed_field_is_found_at_its_entry(field: str) -> None:
    whole = chain(5)
    whole[2][field] = {"tokens_in": 99} if field == "detail" else "changed"
    assert broken(verify(whole)) == (False, 3, "hash_mismatch")


def test_an_entry_that_was_rewritten_with_a_fitting_hash_is_found_at_its_successor() -> None:
    whole = chain(5)
    whole[2]["actor"] = "key:2"
    whole[2]["hash"] = entry_hash(bytes.fromhex(whole[2]["prev_hash"]), canonical(whole[2])).hex()
    assert broken(verify(whole)) == (False, 4, "prev_mismatch")


def test_a_dropped_entry_is_named() -> None:
    whole = chain(5)
    assert broken(verify(whole[:2] + whole[3:])) == (False, 3, "gap")


def test_a_dropped_beginning_is_named() -> None:
    assert broken(verify(chain(5)[2:])) == (False, 1, "gap")


def test_reordered_entries_are_found_where_the_order_breaks() -> None:
    one, two, three, four = chain(4)
    assert broken(verify([one, three, two, four])) == (False, 2, "gap")
    assert broken(verify([one, two, two, four])) == (False, 2, "order")


def test_an_entry_of_another_chain_does_not_fit() -> None:
    whole = chain(3)
    other = chain(3)
    other[0]["actor"] = "key:9"
    other[0]["hash"] = entry_hash(ZERO_HASH, canonical(other[0])).hex()
    assert broken(verify([other[0], *whole[1:]])) == (False, 2, "prev_mismatch")


def test_a_missing_end_is_named_when_the_end_is_known() -> None:
    walk = Walk()
    assert all(walk.check(entry) for entry in chain(5)[:3])
    assert broken(walk.end(last_seq=5)) == (False, 4, "gap")


def test_a_part_of_a_chain_is_checked_from_the_hash_before_it() -> None:
    whole = chain(5)
    assert verify(whole[2:], first_seq=3, prev_hash=bytes.fromhex(whole[1]["hash"])).valid
    assert broken(verify(whole[2:], first_seq=3, prev_hash=ZERO_HASH)) == (False, 3, "prev_mismatch")


@pytest.mark.parametrize("nonsense", [{}, {"seq": "1"}, {"seq": 1}, {"seq": 1, "hash": 5, "prev_hash": None}])
def test_what_is_no_entry_is_broken_and_raises_nothing(nonsense: dict[str, Any]) -> None:
    assert not verify([nonsense]).valid
