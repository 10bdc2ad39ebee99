"""Which generation a Gemini model is of, by its name."""

from __future__ import annotations


def takes_level(model: str) -> bool:
    """Whether the model is of the third generation or a later one: those take a thinking level and insist on signatures."""
    name = model.rpartition("/")[2]
    version = name.removeprefix("gemini-").partition("-")[0].partition(".")[0]
    return name.startswith("gemini-") and version.isdigit() and int(version) >= 3
