"""Rules that read the user's messages too, and what tells of a message that none of them has to. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from instance.chute.modules.studio.prompt_fault import Fault, Prompt

SHINGLE_WORDS = 5
PARAGRAPH_MIN_WORDS = 8
PARAGRAPHS_MAX = 200
SIMILAR = 0.8
QUOTE_MIN_CHARS = 30
INJECTION = (
    r"(?i)\b(?:ignore|disregard|forget) (?:all |any |the )?(?:previous|prior|above|earlier) (?:instructions|rules|messages|prompts)"
    r"|\byou are now\b[^.\n]{0,40}\bwithout (?:any )?(?:rules|restrictions|limits)|\breveal (?:your|the) (?:system )?prompt\b"
)
"""In the form of RE2, for the shared matcher."""
_INJECTION = re.compile(INJECTION)
_BLANK_LINE = re.compile(r"\n\s*\n")
_PLACEHOLDER = re.compile(
    r"\{\{\s*[A-Za-z_][\w .-]{0,40}\s*\}\}|<(?:TODO|FIXME|INSERT|YOUR|PLACEHOLDER)[^<>\n]{0,40}>|\[(?:INSERT|TODO|YOUR|PLACEHOLDER)\b[^\[\]\n]{0,40}\]|\$\{[A-Za-z_]\w{0,40}\}"
)
_INVISIBLE = re.compile("[\u200b\u200c\u2060\ufeff\u00ad\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def user_may_have_fault(text: str, system: Sequence[str], *, first: bool) -> bool:
    """Whether a rule that reads the user's messages could find something in one, beside what the shared matcher looks for and
    what the request's parameters ask of it: `False` is sure. `first`: it is the first of them."""
    if not text.isascii() and _INVISIBLE.search(text) is not None:
        return True
    if "\n" in text and "\n\n" in text and _says_twice(text):  # one character is found much faster than two
        return True
    if not system:
        return first and ("{" in text or "<" in text or "[" in text) and _PLACEHOLDER.search(text) is not None
    bare = text.strip()
    size = len(bare)
    if size >= QUOTE_MIN_CHARS:
        for each in system:
            if size <= len(each) and bare in each:
                return True
    return False


def unfilled_placeholder(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.system or prompt.users[:1]:
        if "{" not in text and "<" not in text and "[" not in text:
            continue
        found = _PLACEHOLDER.search(text)
        if found is not None:
            yield Fault(
                "unfilled_placeholder",
                path,
                f"{found.group()[:60]} was not filled in.",
                "Give it a value, or take it out.",
            )


def repeated_paragraph(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.texts:
        if "\n\n" in text and _says_twice(text):
            yield Fault("repeated_paragraph", path, "Two paragraphs say nearly the same.", "Keep one of them.")


def _says_twice(text: str) -> bool:
    """Whether two paragraphs have nearly the same runs of words."""
    paragraphs = [part.split() for part in _BLANK_LINE.split(text)[:PARAGRAPHS_MAX]]
    long = [words for words in paragraphs if len(words) >= PARAGRAPH_MIN_WORDS]
    if len(long) < 2:
        return False
    sizes: list[int] = []
    where: dict[tuple[str, ...], list[int]] = {}
    for number, words in enumerate(long):
        shingles = _shingles(words)
        shared: Counter[int] = Counter()
        for shingle in shingles:
            before = where.setdefault(shingle, [])
            if before:
                shared.update(before)
            before.append(number)
        if any(count > SIMILAR * (sizes[other] + len(shingles) - count) for other, count in shared.items()):
            return True
        sizes.append(len(shingles))
    return False


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    lowered = [word.casefold() for word in words]
    return set(zip(*(lowered[n:] for n in range(SHINGLE_WORDS)), strict=False))


def user_text_in_system(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.system:
        for _, said in prompt.users:
            bare = said.strip()
            if (
                len(bare) >= QUOTE_MIN_CHARS
                and bare in text
                and not re.search(r"(?:```|<[a-z_]+>|\"\"\")\s*" + re.escape(bare[:QUOTE_MIN_CHARS]), text)
            ):
                yield Fault(
                    "user_text_in_system",
                    path,
                    "The user's text stands unfenced in the system message.",
                    "Leave it to the user's message, or mark it as data.",
                )
                break


def injection_phrase(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.texts:
        found = _INJECTION.search(text)
        if found is not None:
            yield Fault(
                "injection_phrase",
                path,
                f"“{found.group()[:60]}” is how injections speak.",
                "Mark text of others as data; say it otherwise if it is yours.",
            )


def invisible_characters(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.texts:
        if text.isascii():
            continue
        found = _INVISIBLE.search(text)
        if found is not None:
            yield Fault(
                "invisible_characters",
                path,
                f"There is an invisible character (U+{ord(found.group()):04X}).",
                "Take it out: what nobody sees can hide instructions.",
            )
