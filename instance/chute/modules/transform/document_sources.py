"""Where contextpack's documents come from: texts, folders, addresses, queries; each read into documents on a worker thread."""

from __future__ import annotations

import sqlite3
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instance.chute.modules.transform.document_text import Unreadable, text_of
from instance.chute.remote_media import RemoteMedia
from instance.core.errors import StockyardError

FILES_MAX = 2_000
FILE_MAX_BYTES = 20 << 20
ROWS_MAX = 20_000
QUERY_STEPS_MAX = 5_000
"""Times 10,000 instructions of SQLite: a query that is still running then is given up."""
TYPES = ("text/", "application/json", "application/pdf", "application/xhtml+xml")


class Source(BaseModel):
    """One source of documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, description="Name in the prompt and in the trail.")
    type: Literal["text", "folder", "url", "sqlite"] = Field(description="What it is.")
    content: str = Field(default="", max_length=1_000_000, description="The text itself, for type text.")
    path: str = Field(
        default="", max_length=4096, description="Folder, or for type sqlite the file; below one of roots."
    )
    globs: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default=["**/*.md", "**/*.txt", "**/*.html", "**/*.csv", "**/*.json", "**/*.pdf"],
        max_length=50,
        description="Files of the folder.",
    )
    url: str = Field(default="", max_length=4096, pattern=r"^(https?://\S+)?$", description="Address of a document.")
    sql: str = Field(default="", max_length=10_000, description="One SELECT; each row is a document.")
    refresh_s: int = Field(default=3600, ge=1, le=31_536_000, description="Seconds after which it is read again.")

    @model_validator(mode="after")
    def _whole(self) -> Source:
        needed = {"text": ("content",), "folder": ("path",), "url": ("url",), "sqlite": ("path", "sql")}[self.type]
        for name in needed:
            if not getattr(self, name):
                raise ValueError(f"a source of type {self.type} needs `{name}`")
        if self.type == "sqlite" and not self.sql.lstrip().lower().startswith(("select", "with")):
            raise ValueError("sql must be one SELECT")
        return self


class Document(NamedTuple):
    """A document and its text."""

    name: str
    text: str


class SourceFailed(Exception):
    """A source that cannot be read; the message says why."""


def within(path: str, roots: Sequence[Path]) -> Path:
    """The real path of a folder or file, if it lies in one of the roots. Raises `ValueError`."""
    found = (roots[0] / path if not Path(path).is_absolute() else Path(path)).expanduser().resolve()
    if not any(found == root or root in found.parents for root in roots):
        raise ValueError(f"{path!r} lies in none of the allowed folders: {', '.join(map(str, roots))}")
    return found


def files_of(source: Source, roots: Sequence[Path]) -> list[Path]:
    """The files of a folder that its globs fit, links out of the roots left out. Raises `SourceFailed`."""
    folder = within(source.path, roots)
    if not folder.is_dir():
        raise SourceFailed(f"there is no folder {folder}")
    found: dict[Path, None] = {}
    for glob in source.globs:
        if glob.startswith("/") or ".." in glob.split("/"):
            raise SourceFailed(f"{glob!r} leads out of the folder")
        for path in folder.glob(glob):
            real = path.resolve()
            if real.is_file() and any(root in real.parents for root in roots):
                found[path] = None
            if len(found) > FILES_MAX:
                raise SourceFailed(f"there are more than {FILES_MAX} files")
    return sorted(found)


def state_of(source: Source, roots: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of a folder's files: when it changes, the folder is read again."""
    made = []
    for path in files_of(source, roots):
        stat = path.stat()
        made.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(made)


def read_local(source: Source, roots: Sequence[Path]) -> tuple[list[Document], list[str]]:
    """The documents of a source on this machine, and why some of them could not be read. Raises `SourceFailed`."""
    if source.type == "text":
        return [Document(source.name, source.content)], []
    if source.type == "sqlite":
        return list(_rows(source, within(source.path, roots))), []
    documents, problems = [], []
    folder = within(source.path, roots)
    for path in files_of(source, roots):
        name = str(path.relative_to(folder))
        try:
            if path.stat().st_size > FILE_MAX_BYTES:
                raise Unreadable(f"it is larger than {FILE_MAX_BYTES >> 20} MB")
            documents.append(Document(name, text_of(name, path.read_bytes())))
        except (OSError, Unreadable) as problem:
            problems.append(f"{name}: {problem}")
    return documents, problems


async def read_remote(source: Source, fetcher: RemoteMedia) -> list[Document]:
    """The document at an address. Raises `SourceFailed`."""
    try:
        media = await fetcher.fetch(source.url, "url", FILE_MAX_BYTES)
        return [Document(source.url, text_of(source.url.partition("?")[0], b64decode(media.base64), media.mime_type))]
    except StockyardError as error:
        why = error.message.removeprefix("An address in the message ").removeprefix("The address of an image ")
        raise SourceFailed(f"{source.url}: {why}") from None
    except Unreadable as problem:
        raise SourceFailed(f"{source.url}: {problem}") from None


def _rows(source: Source, path: Path) -> Iterator[Document]:
    if not path.is_file():
        raise SourceFailed(f"there is no file {path}")
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33)  # 33: SQLITE_RECURSIVE
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return steps > QUERY_STEPS_MAX

    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.set_authorizer(
                lambda action, *_: sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY
            )
            connection.set_progress_handler(step, 10_000)
            cursor = connection.execute(source.sql)
            names = [column[0] for column in cursor.description or ()]
            for number, row in enumerate(cursor.fetchmany(ROWS_MAX), 1):
                cells = [f"{name}: {value}" for name, value in zip(names, row, strict=True) if value is not None]
                yield Document(f"{source.name} {number}", "\n".join(cells))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise SourceFailed(f"the query failed: {error}") from None
