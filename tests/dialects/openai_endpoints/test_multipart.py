"""Taking a multipart body apart and putting it together again."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.multipart import PARTS_MAX, parse_form
from instance.core.errors import StockyardError

TYPE = b"multipart/form-data; boundary=XX"


def body(*parts: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"--XX\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + b"--XX--\r\n"


def field(name: bytes, data: bytes) -> tuple[bytes, bytes]:
    return b'Content-Disposition: form-data; name="' + name + b'"', data


def test_fields_and_files_are_told_apart() -> None:
    raw = body(
        field(b"model", b"whisper"),
        (
            b'content-disposition: form-data; name="file"; filename="a \\"b\\".wav"\r\ncontent-type: audio/wav',
            b"\x00\xff\r\n--X",
        ),
    )
    form = parse_form(raw, TYPE)
    assert form.fields() == {
        "model": "whisper",
        "file": {"filename": 'a "b".wav', "content_type": "audio/wav", "size_bytes": 7},
    }
    file = form.file("file")
    assert file is not None
    assert bytes(file.data) == b"\x00\xff\r\n--X"
    assert file.data.obj is raw  # a view, not a copy


def test_what_is_sent_several_times_is_a_list() -> None:
    form = parse_form(body(field(b"a[]", b"1"), field(b"b", b"1"), field(b"b", b"2"), field(b"c", b"")), TYPE)
    assert form.fields() == {"a": ["1"], "b": ["1", "2"], "c": ""}


def test_only_changed_fields_are_written_anew() -> None:
    raw = body(field(b"model", b"a"), field(b"x", b"1"))
    assert parse_form(raw, TYPE).written({}) == raw
    assert parse_form(raw, TYPE).written({"model": "b"}) == body(field(b"model", b"b"), field(b"x", b"1"))
    assert parse_form(parse_form(raw, TYPE).written({"new": "ü"}), TYPE).fields() == {
        "new": "ü",
        "model": "a",
        "x": "1",
    }


@pytest.mark.parametrize(
    "kind", [b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"x" * 201]
)
def test_a_content_type_without_a_boundary_is_refused(kind: bytes) -> None:
    with pytest.raises(StockyardError, match="boundary"):
        parse_form(b"--XX--", kind)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"--YY\r\n",
        b"--XX",
        b"--XX\r\n",
        b"--XX junk\r\n",
        b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
        b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--XX',
        b"--XX\r\nContent-Disposition: form-data\r\n\r\n1\r\n--XX--",
        b"--XX\r\nContent-Type: text/plain\r\n\r\n1\r\n--XX--",
        b'--XX\r\nContent-Disposition: attachment; name="a"\r\n\r\n1\r\n--XX--',
        b"--XX\r\nx: " + b"y" * 9000 + b"\r\n\r\n1\r\n--XX--",
        body(*[field(b"a", b"1")] * (PARTS_MAX + 1)),
    ],
)
def test_a_damaged_body_is_refused(raw: bytes) -> None:
    with pytest.raises(StockyardError) as caught:
        parse_form(raw, TYPE)
    assert caught.value.code == "bad_request"


def test_a_field_that_is_no_text_or_too_long_is_refused() -> None:
    with pytest.raises(StockyardError) as caught:
        parse_form(body(field(b"a", b"\xff")), TYPE).fields()
    assert caught.value.param == "a"
    with pytest.raises(StockyardError, match="1 MiB"):
        parse_form(body(field(b"a", b"x" * ((1 << 20) + 1))), TYPE)


def test_a_quoted_boundary_a_preamble_and_an_epilogue_are_understood() -> None:
    raw = b"preamble\r\n" + body(field(b"a", b"1")) + b"epilogue"
    assert parse_form(raw, b'multipart/form-data; charset=utf-8; boundary="XX"').fields() == {"a": "1"}


TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
NAME = st.text("abcdefghij_-", min_size=1, max_size=12)


@given(
    st.dictionaries(NAME, TEXT, max_size=6),
    st.dictionaries(NAME.map("f_".__add__), st.binary(max_size=200), max_size=3),
)
def test_what_a_client_writes_is_read_and_can_be_written_again(fields: dict[str, str], files: dict[str, bytes]) -> None:
    files = {**files, "f": b"always one"}
    request = httpx2.Request(
        "POST", "http://x", data=fields, files={name: (f"{name}.bin", data) for name, data in files.items()}
    )
    raw = request.read()
    form = parse_form(raw, request.headers["content-type"].encode())
    assert {part.name: part.text() for part in form.parts if not part.is_file} == fields
    assert {part.name: bytes(part.data) for part in form.parts if part.is_file} == files
    assert form.written({}) == raw


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_refusal(raw: bytes) -> None:
    for whole in (raw, b"--XX\r\n" + raw, body((raw, raw))):
        try:
            parse_form(whole, TYPE).fields()
        except StockyardError:
            pass
