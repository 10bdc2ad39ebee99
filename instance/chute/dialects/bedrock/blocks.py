"""Parts of canonical messages as content blocks of Converse."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.data_url import Media, checked_base64, is_data_url, read_data_url

IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
VIDEO_FORMATS = {"video/mp4": "mp4", "video/quicktime": "mov", "video/x-matroska": "mkv", "video/webm": "webm"}
_NAME = re.compile(r"[^A-Za-z0-9\s\-()\[\]]+")
NAME_MAX_CHARACTERS = 200

Fetched = Mapping[str, Media]


def cache_point(mark: Any) -> JSON:
    """The cache's mark after a block, with the lifetime that was asked for."""
    point: JSON = {"type": "default"}
    if isinstance(mark, dict) and mark.get("ttl"):
        point["ttl"] = mark["ttl"]
    return {"cachePoint": point}


class BlockWriter:
    """Writes the blocks of one request; `dropped` names what has no counterpart. Documents are named apart, as is demanded."""

    def __init__(self, fetched: Fetched) -> None:
        self.dropped: list[str] = []
        self._fetched = fetched
        self._documents = 0

    def blocks(self, content: Any, param: str) -> list[JSON]:
        """The blocks of a message's content; empty texts are left out. Raises 400 for data that cannot be read."""
        if isinstance(content, str):
            return [{"text": content}] if content.strip() else []
        found: list[JSON] = []
        for index, part in enumerate(content or ()):
            block = self._block(part, f"{param}[{index}]")
            if block is not None:
                found.append(block)
                if isinstance(part, dict) and part.get("cache_control") is not None:
                    found.append(cache_point(part["cache_control"]))
        return found

    def _block(self, part: Any, param: str) -> JSON | None:
        if isinstance(part, str):
            return {"text": part} if part.strip() else None
        kind = part.get("type")
        if kind in ("text", "input_text", "output_text", "refusal"):
            text = part.get("text") or part.get("refusal")
            return {"text": text} if isinstance(text, str) and text.strip() else None
        if kind == "image_url":
            image = part.get("image_url")
            return self._media(image.get("url") if isinstance(image, dict) else image, f"{param}.image_url")
        if kind == "file":
            return self._file(part.get("file"), f"{param}.file")
        if kind is None and len(part) == 1:
            # A block of Converse itself (guardContent, video …), as an SDK's caller may write it.
            return dict(part)
        self.dropped.append(param)
        return None

    def _file(self, file: Any, param: str) -> JSON | None:
        if not isinstance(file, dict):
            self.dropped.append(param)
            return None
        data = file.get("file_data") or file.get("file_url") or file.get("url")
        if isinstance(data, str) and data and not is_data_url(data) and "://" not in data[:10]:
            data = f"data:application/pdf;base64,{checked_base64(data, param)}"
        return self._media(data, param, file.get("filename"))

    def _media(self, url: Any, param: str, name: Any = None) -> JSON | None:
        if not isinstance(url, str) or not url:
            self.dropped.append(param)
            return None
        if url.startswith("s3://"):
            return self._typed(_type_of_name(url), {"s3Location": {"uri": url}}, param, name)
        if is_data_url(url):
            media = read_data_url(url, param)
        elif url in self._fetched:
            media = self._fetched[url]
        else:
            self.dropped.append(param)
            return None
        return self._typed(media.mime_type, {"bytes": media.base64}, param, name)

    def _typed(self, mime_type: str, source: JSON, param: str, name: Any) -> JSON | None:
        if mime_type in IMAGE_FORMATS:
            return {"image": {"format": IMAGE_FORMATS[mime_type], "source": source}}
        if mime_type in VIDEO_FORMATS:
            return {"video": {"format": VIDEO_FORMATS[mime_type], "source": source}}
        if mime_type in DOCUMENT_FORMATS:
            self._documents += 1
            title = _NAME.sub(" ", name).strip() if isinstance(name, str) else ""
            shown = " ".join(f"{title or 'document'} {self._documents}".split())[:NAME_MAX_CHARACTERS]
            return {"document": {"format": DOCUMENT_FORMATS[mime_type], "name": shown, "source": source}}
        self.dropped.append(param)
        return None


def _type_of_name(name: str) -> str:
    ending = name.rpartition(".")[2].lower()
    for table in (IMAGE_FORMATS, DOCUMENT_FORMATS, VIDEO_FORMATS):
        for mime_type, form in table.items():
            if ending == form or (ending == "jpg" and form == "jpeg"):
                return mime_type
    return ""


def remote_urls(messages: list[JSON]) -> Iterator[tuple[str, str]]:
    """(url, param) of what must be fetched, since the API takes bytes or S3 only."""
    for index, message in enumerate(messages):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if not isinstance(part, dict):
                continue
            param = f"messages[{index}].content[{place}]"
            image, file = part.get("image_url"), part.get("file")
            url = image.get("url") if isinstance(image, dict) else image
            if part.get("type") == "file" and isinstance(file, dict):
                url = file.get("file_url") or file.get("url") or file.get("file_data")
            if isinstance(url, str) and url.startswith(("http://", "https://")):
                yield url, f"{param}.{'file' if part.get('type') == 'file' else 'image_url'}"
