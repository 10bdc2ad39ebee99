from __future__ import annotations

import base64
from pathlib import Path

import pytest

from instance.core.secrets import SecretBox, SecretError, key_from_text, load_or_make

KEY = bytes(range(32))


def test_what_was_sealed_is_opened_with_the_same_key() -> None:
    sealed = SecretBox(KEY).seal(b"hello")
    assert b"hello" not in sealed
    assert SecretBox(KEY).open(sealed) == b"hello"


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    box = SecretBox(KEY)
    assert box.seal(b"hello") != box.seal(b"hello")


def test_another_key_a_changed_byte_and_another_context_are_refused() -> None:
    sealed = SecretBox(KEY).seal(b"hello", b"openai")
    with pytest.raises(SecretError):
        SecretBox(bytes(32)).open(sealed, b"openai")
    with pytest.raises(SecretError):
        SecretBox(KEY).open(sealed[:-1] + bytes([sealed[-1] ^ 1]), b"openai")
    with pytest.raises(SecretError):
        SecretBox(KEY).open(sealed, b"groq")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x02" + bytes(40)])
def test_what_was_never_sealed_is_refused(sealed: bytes) -> None:
    with pytest.raises(SecretError):
        SecretBox(KEY).open(sealed)


@pytest.mark.parametrize(
    "text", [KEY.hex(), base64.b64encode(KEY).decode(), base64.urlsafe_b64encode(KEY).decode().rstrip("=")]
)
def test_a_key_may_be_written_in_hex_or_base64(text: str) -> None:
    assert key_from_text(f" {text}\n") == KEY


def test_a_passphrase_gives_the_same_key_each_time_and_a_short_one_is_refused() -> None:
    assert key_from_text("correct horse battery staple") == key_from_text("correct horse battery staple")
    with pytest.raises(ValueError, match="16 characters"):
        key_from_text("short")


def test_a_key_file_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    key = load_or_make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_make(path) == key
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret.key"]
