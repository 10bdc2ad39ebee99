"""Writes a new module's package into a folder."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from instance.chute.module import API_VERSION
from instance.chute.order import PLACE
from instance.commands.new_module import templates

NAME = re.compile(r"[a-z][a-z0-9_]{1,39}\Z")


class CannotWrite(Exception):
    """Nothing was written; the message says why."""


def write_package(name: str, folder: Path) -> list[Path]:
    """The files of a package for the module `name`, in a new folder. Raises `CannotWrite`."""
    if not NAME.match(name) or keyword.iskeyword(name):
        raise CannotWrite(f"{name!r} is no name for a module: 2 to 40 of a-z, 0-9 and _, beginning with a letter")
    if name in PLACE:
        raise CannotWrite(f"there is a module {name!r} already; choose another name")
    if folder.exists() and any(folder.iterdir()):
        raise CannotWrite(f"{folder} is there and not empty; name another with --folder")
    files = {
        "pyproject.toml": templates.PROJECT,
        f"{name}.py": templates.MODULE,
        f"test_{name}.py": templates.TEST,
        "README.md": templates.README,
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file, text in files.items():
        path = folder / file
        for mark, said in (("@NAME@", name), ("@CLASS@", class_name(name)), ("@API@", str(API_VERSION))):
            text = text.replace(mark, said)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def class_name(name: str) -> str:
    """`word_limit` -> `WordLimit`."""
    return "".join(part.capitalize() for part in name.split("_"))
