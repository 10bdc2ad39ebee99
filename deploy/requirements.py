"""The requirements of `pyproject.toml`, one a line, with those of the named extras: `requirements.py code,images`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(project: Path, extras: str) -> list[str]:
    """Those of the project and of `extras`, names with commas between them. Exits with a message where there is no such extra."""
    table = tomllib.loads(project.read_text())["project"]
    found: list[str] = list(table["dependencies"])
    optional: dict[str, list[str]] = table["optional-dependencies"]
    for name in filter(None, (part.strip() for part in extras.split(","))):
        if name not in optional:
            sys.exit(f"there is no extra {name!r}; there are: {', '.join(sorted(optional))}")
        found += optional[name]
    return sorted(set(found))


if __name__ == "__main__":
    print(*requirements(Path("pyproject.toml"), "".join(sys.argv[1:2])), sep="\n")
