from __future__ import annotations

import hashlib
import re

import pytest

from instance.core.keys import PREFIXES, display, hash_key, kind_of, make_key, require_given


@pytest.mark.parametrize("kind", PREFIXES)
def test_a_key_is_its_kinds_prefix_and_43_base64url_characters(kind: str) -> None:
    key = make_key(kind)
    assert re.fullmatch(re.escape(PREFIXES[kind]) + r"[A-Za-z0-9_-]{43}", key)
    assert kind_of(key) == kind


def test_no_two_keys_are_the_same() -> None:
    assert len({make_key("proxy") for _ in range(1000)}) == 1000


def test_a_key_is_kept_as_the_sha_256_of_its_text() -> None:
    assert hash_key("sk-sy-abc") == hashlib.sha256(b"sk-sy-abc").digest()


def test_a_key_is_shown_by_its_first_12_and_last_4_characters() -> None:
    assert display("sk-sy-ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "sk-sy-ABCDEF…WXYZ"


@pytest.mark.parametrize("text", ["sk-proj-1234", "", "bearer"])
def test_text_that_is_no_key_of_ours_has_no_kind(text: str) -> None:
    assert kind_of(text) == ""


def test_a_given_key_of_twelve_characters_is_taken() -> None:
    assert require_given("sy_admin_abcdefghijkl", "admin") == "sy_admin_abcdefghijkl"


@pytest.mark.parametrize(
    "key",
    ["sy_admin_short", "sk-sy-abcdefghijkl", "sy_admin_with a space", "sy_admin_" + "x" * 600, "sy_admin_ünïcödëxyz"],
)
def test_a_given_key_that_cannot_be_one_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        require_given(key, "admin")
