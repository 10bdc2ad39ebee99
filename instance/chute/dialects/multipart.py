"""A body of `multipart/form-data`: taken apart once, its files left where they are in the bytes that came.

Reference: RFC 7578. Text fields become strings; a field that is sent more than once, or whose name ends in `[]`, a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from instance.core.errors import StockyardError

PARTS_MAX = 256
PART_HEAD_MAX_BYTES = 8 << 10
FIELD_MAX_BYTES = 1 << 20
BOUNDARY_MAX_BYTES = 200
_BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*(name|filename)="((?:[^"\\]|\\.)*)"|;\s*(name|filename)=([^;"\s]+)', re.IGNORECASE)
_EXTENDED_FILENAME = re.compile(rb";\s*filename\*=", re.IGNORECASE)


class Part:
    """One part. `data` is a view of the body, never a copy; `filename` is `None` for a text field."""

    __slots__ = ("content_type", "data", "filename", "head", "name")

    def __init__(self, head: bytes, name: str, filename: str | None, content_type: str, data: memoryview) -> None:
        self.head = head
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.data = data

    @property
    def is_file(self) -> bool:
        return self.filename is not None

    def text(self) -> str:
        """The field's text. Raises `StockyardError` for one that is no UTF-8."""
        try:
            return str(self.data, "utf-8")
        except UnicodeDecodeError:
            raise StockyardError("bad_request", f"The field `{self.name}` is not UTF-8.", param=self.name) from None


class Form:
    """The parts of one body, in order."""

    def __init__(self, boundary: bytes, parts: list[Part]) -> None:
        self.boundary = boundary
        self.parts = parts

    def fields(self) -> dict[str, Any]:
        """Text fields by name, and for each file its `filename`, `content_type` and `size_bytes`. Names lose a closing `[]`."""
        fields: dict[str, Any] = {}
        for part in self.parts:
            value: Any = part.text() if not part.is_file else described(part)
            name = part.name.removesuffix("[]")
            if name not in fields:
                fields[name] = [value] if part.name.endswith("[]") else value
            elif type(fields[name]) is list:
                fields[name].append(value)
            else:
                fields[name] = [fields[name], value]
        return fields

    def file(self, name: str) -> Part | None:
        """The first file of that name."""
        return next((part for part in self.parts if part.is_file and part.name.removesuffix("[]") == name), None)

    def written(self, changed: Mapping[str, str]) -> bytes:
        """The body anew: text fields that `changed` names have its texts, those that are not there yet come first."""
        line = b"--" + self.boundary + b"\r\n"
        pieces: list[bytes | memoryview] = []
        there = {part.name for part in self.parts if not part.is_file}
        for name, text in changed.items():
            if name not in there:
                head = b'Content-Disposition: form-data; name="%b"' % _quoted(name)
                pieces += (line, head, b"\r\n\r\n", text.encode(), b"\r\n")
        for part in self.parts:
            new = None if part.is_file else changed.get(part.name)
            pieces += (line, part.head, b"\r\n\r\n", part.data if new is None else new.encode(), b"\r\n")
        pieces.append(b"--" + self.boundary + b"--\r\n")
        return b"".join(pieces)


def described(part: Part) -> dict[str, Any]:
    """What a module and the trace may see of a file."""
    return {"filename": part.filename, "content_type": part.content_type, "size_bytes": len(part.data)}


def is_multipart(content_type: bytes) -> bool:
    return content_type[:19].lower() == b"multipart/form-data"


def parse_form(raw: bytes, content_type: bytes) -> Form:
    """The parts of a body. Raises `unsupported_media_type` for another content type and `bad_request` for a body that is none."""
    if not is_multipart(content_type):
        raise StockyardError(
            "unsupported_media_type", "Send this as multipart/form-data, with the file in a part of its own."
        )
    match = _BOUNDARY.search(content_type)
    boundary = (match[1] or match[2]) if match else b""
    if not boundary or len(boundary) > BOUNDARY_MAX_BYTES:
        raise _bad("its content type has no boundary")
    return Form(boundary, list(_parts(raw, boundary)))


def _parts(raw: bytes, boundary: bytes) -> Iterable[Part]:
    delimiter = b"\r\n--" + boundary
    if raw.startswith(delimiter[2:]):
        at = len(delimiter) - 2
    else:
        at = raw.find(delimiter)
        if at < 0:
            raise _bad("its boundary does not occur in it")
        at += len(delimiter)
    view = memoryview(raw)
    for _ in range(PARTS_MAX + 1):
        if raw.startswith(b"--", at):
            return
        line_end = raw.find(b"\r\n", at, at + 256)
        if line_end < 0 or raw[at:line_end].strip(b" \t"):
            raise _bad("a boundary is followed by something else than a new line")
        head_from = line_end + 2
        head_to = raw.find(b"\r\n\r\n", line_end, head_from + PART_HEAD_MAX_BYTES)
        if head_to < 0:
            raise _bad("a part has no head, or one over 8 KiB")
        data_from = head_to + 4
        data_to = raw.find(delimiter, head_to + 2)
        if data_to < 0:
            raise _bad("it ends before its last boundary")
        yield _part(raw[head_from:head_to], view[data_from : max(data_from, data_to)])
        at = data_to + len(delimiter)
    raise _bad(f"it has more than {PARTS_MAX} parts")


def _part(head: bytes, data: memoryview) -> Part:
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        header, _, content = line.partition(b":")
        headers[header.strip().lower()] = content.strip()
    disposition = headers.get(b"content-disposition", b"")
    found: dict[bytes, bytes] = {}
    for match in _PARAMETER.finditer(disposition):
        key, value = (match[1], match[2]) if match[1] else (match[3], match[4])
        found.setdefault(key.lower(), re.sub(rb'\\(["\\])', rb"\1", value))
    if not disposition[:9].lower() == b"form-data" or b"name" not in found:
        raise _bad("a part has no name")
    filename = found.get(b"filename")
    if filename is None and _EXTENDED_FILENAME.search(disposition):
        filename = b""
    name = found[b"name"].decode("utf-8", "replace")
    if filename is None and len(data) > FIELD_MAX_BYTES:
        raise StockyardError("bad_request", f"The field `{name}` is over 1 MiB.", param=name)
    return Part(
        head,
        name,
        None if filename is None else filename.decode("utf-8", "replace"),
        headers.get(b"content-type", b"").decode("latin-1"),
        data,
    )


def _quoted(name: str) -> bytes:
    return name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _bad(reason: str) -> StockyardError:
    return StockyardError("bad_request", f"The body is no multipart form: {reason}.")


def written_form(fields: Mapping[str, str], name: str, filename: str, data: bytes, boundary: bytes) -> bytes:
    """A form of its own with some text fields and one file. Raises `ValueError` when the data hold the boundary."""
    if boundary in data:
        raise ValueError("the boundary occurs in the data")
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, key.encode(), value.encode())
        for key, value in fields.items()
    ]
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n' % (
        boundary,
        name.encode(),
        filename.encode("ascii", "replace"),
    )
    parts.append(b"%bContent-Type: application/octet-stream\r\n\r\n%b\r\n" % (head, data))
    return b"".join((*parts, b"--%b--\r\n" % boundary))
