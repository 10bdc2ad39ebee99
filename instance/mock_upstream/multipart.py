"""Forms with files, as OpenAI's image and audio endpoints take them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from instance.mock_upstream.exchange import Call


class NotMultipart(ValueError):
    """The body is no readable multipart form."""


@dataclass(frozen=True, slots=True)
class File:
    name: str
    content_type: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.content_type} {len(self.data)} bytes"


def read_form(call: Call) -> tuple[dict[str, Any], dict[str, list[File]]]:
    """Fields by name (a list for `name[]`, or for a name that comes twice) and files by field.

    Among the fields a file stands as its file name.
    """
    found = re.search(r'boundary="?([^";,]+)"?', call.headers.get("content-type", ""))
    if found is None or not call.headers["content-type"].startswith("multipart/form-data"):
        raise NotMultipart("the body must be multipart/form-data with a boundary")
    boundary = b"--" + found.group(1).encode("latin-1")
    sections = (b"\r\n" + call.body).split(b"\r\n" + boundary)
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise NotMultipart("the form has no closing boundary")
    form: dict[str, Any] = {}
    files: dict[str, list[File]] = {}
    for section in sections[1:-1]:
        head, gap, data = section.partition(b"\r\n\r\n")
        if not gap:
            raise NotMultipart("a part of the form has no head")
        headers = _headers(head)
        disposition = headers.get("content-disposition", "")
        name = _parameter(disposition, "name")
        if not disposition.startswith("form-data") or name is None:
            raise NotMultipart("a part of the form has no name")
        filename = _parameter(disposition, "filename")
        value: str
        if filename is not None:
            value = filename
            files.setdefault(name.removesuffix("[]"), []).append(
                File(filename, headers.get("content-type", "application/octet-stream"), data)
            )
        else:
            try:
                value = data.decode()
            except UnicodeDecodeError:
                raise NotMultipart(f"the field {name} is not UTF-8") from None
        if name.endswith("[]"):
            form.setdefault(name[:-2], []).append(value)
        elif name in form:
            form[name] = [*(form[name] if isinstance(form[name], list) else [form[name]]), value]
        else:
            form[name] = value
    return form, files


def _headers(head: bytes) -> dict[str, str]:
    lines = [line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n") if line]
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _parameter(header: str, name: str) -> str | None:
    found = re.search(rf';\s*{name}="((?:[^"\\]|\\.)*)"', header) or re.search(rf";\s*{name}=([^;\s]+)", header)
    return found.group(1) if found else None
