"""The documentation's files, and what can be read out of Markdown: headings' anchors, links, blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\[]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')


def pages() -> list[Path]:
    """Every page for readers."""
    return [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


def without_code(text: str) -> str:
    return FENCE.sub("", text)


def links(page: Path) -> list[str]:
    """The targets of the page's links."""
    return LINK.findall(without_code(page.read_text()))


def anchors(page: Path) -> set[str]:
    """What `#…` may name on the page, as GitHub makes it of headings."""
    text = page.read_text()
    made = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(without_code(text))
    }
    return made | set(ANCHOR.findall(text))


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code: what stands behind its fence, and its text."""

    info: str
    body: str
    line: int


def blocks(page: Path, mark: str) -> list[Block]:
    """The blocks of the page that are marked `<!-- mark -->` on the line before."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()].rstrip("\n").rpartition("\n")[2]
        if before == f"<!-- {mark} -->":
            found.append(Block(match["info"].strip(), match["body"], text.count("\n", 0, match.start()) + 1))
    return found
