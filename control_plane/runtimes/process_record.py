"""What is written down of a process that is an instance, so that the next control plane knows it again."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """`pid` is None from just before the process is made until it was made."""

    name: str
    epoch: int
    revision: str
    image: str
    socket: str
    started_at: float
    pid: int | None = None
    start_ticks: int = 0  # field 22 of /proc/PID/stat: with `boot` it tells this process from a later one of its id
    boot: str = ""
    exited: bool = False
    exit_code: int | None = None


class Records:
    """One small file per instance."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        """Make the folder."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def every(self) -> list[ProcessRecord]:
        """All records, by name."""
        with suppress(FileNotFoundError):
            with os.scandir(self._folder) as found:
                names = sorted(each.name.removesuffix(SUFFIX) for each in found if each.name.endswith(SUFFIX))
            return [record for name in names if (record := self.get(name)) is not None]
        return []

    def get(self, name: str) -> ProcessRecord | None:
        """The record, None if there is none or it is unreadable."""
        with suppress(FileNotFoundError, ValueError, TypeError):
            return ProcessRecord(**orjson.loads(self._path(name).read_bytes()))
        return None

    def put(self, record: ProcessRecord) -> None:
        """Write it whole."""
        making = self._folder / f".{record.name}.making"
        making.write_bytes(orjson.dumps(asdict(record)))
        making.replace(self._path(record.name))

    def drop(self, name: str) -> None:
        """Forget it."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder.joinpath(name + SUFFIX)
