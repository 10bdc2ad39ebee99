"""The text of a document: Markdown and plain text as they are, HTML, CSV, JSON and PDF turned into it. Pure."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from typing import Any

import orjson

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
BLOCKS = frozenset(
    (*HEADINGS, "p", "div", "li", "tr", "br", "section", "article", "table", "ul", "ol", "pre", "blockquote")
)
HIDDEN = frozenset(("script", "style", "noscript", "template", "svg", "head"))
JSON_DEPTH_MAX = 12
PDF_PAGES_MAX = 2_000


class Unreadable(ValueError):
    """A document whose text cannot be had; the message says why."""


def text_of(name: str, data: bytes, content_type: str = "") -> str:
    """The text of a document, by its name's ending or its content type. Raises `Unreadable`."""
    ending = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    if ending == "pdf" or content_type == "application/pdf":
        return _pdf(data)
    text = data.decode("utf-8-sig", "replace")
    if ending in ("html", "htm") or content_type in ("text/html", "application/xhtml+xml"):
        return _html(text)
    if ending == "csv" or content_type == "text/csv":
        return _csv(text)
    if ending == "json" or content_type == "application/json":
        return _json(data)
    return text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in HIDDEN:
            self._hidden += 1
        elif tag in HEADINGS:
            self.pieces.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag == "li":
            self.pieces.append("\n- ")
        elif tag in ("td", "th"):
            self.pieces.append(" | ")
        elif tag in BLOCKS:
            self.pieces.append("\n" if tag in ("br", "tr") else "\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in BLOCKS and tag not in ("br", "li", "tr"):
            self.pieces.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(" ".join(data.split()) + (" " if data[-1:].isspace() else "") if data.strip() else " ")


def _html(text: str) -> str:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _csv(text: str) -> str:
    """A paragraph for each row, every value with the name of its column."""
    try:
        dialect: Any = csv.Sniffer().sniff(text[:4096], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    try:
        rows = list(csv.reader(io.StringIO(text), dialect))
    except csv.Error as error:
        raise Unreadable(f"it is no CSV: {error}") from None
    if not rows:
        return ""
    head = rows[0]
    made = []
    for row in rows[1:]:
        cells = [f"{name}: {value}" for name, value in zip(head, row, strict=False) if value.strip()]
        made.append("; ".join(cells))
    return "\n\n".join(made)


def _json(data: bytes) -> str:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"it is no JSON: {error}") from None
    lines: list[str] = []
    _walk(value, "", lines, 0)
    return "\n".join(lines)


def _walk(value: Any, path: str, lines: list[str], depth: int) -> None:
    if depth > JSON_DEPTH_MAX:
        return
    if isinstance(value, dict):
        for name, part in value.items():
            _walk(part, f"{path}.{name}" if path else name, lines, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _walk(part, path, lines, depth + 1)
            if isinstance(part, dict):
                lines.append("")
    else:
        lines.append(f"{path}: {value}" if path else str(value))


def _pdf(data: bytes) -> str:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        raise Unreadable("PDF needs a package that is not installed: pip install 'stockyard[documents]'") from None
    try:
        reader = PdfReader(io.BytesIO(data))
        return "\n\n".join((page.extract_text() or "").strip() for page in reader.pages[:PDF_PAGES_MAX])
    except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise Unreadable(f"it is no PDF that can be read: {type(error).__name__}") from None
