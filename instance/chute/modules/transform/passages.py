"""Documents cut into passages: at headings and paragraphs, about equally long, each with some of the one before. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from instance.chute.sentences import split_sentences
from instance.chute.tokens import count_tokens

_HEADING = re.compile(r"#{1,6}\s+\S")


class Passage(NamedTuple):
    """A piece of a document: of which source and document, under which heading, its text."""

    source: str
    document: str
    heading: str
    text: str


def cut(source: str, document: str, text: str, chunk_tokens: int, overlap_tokens: int) -> Iterator[Passage]:
    """The passages of a document of about `chunk_tokens`, beginning with about `overlap_tokens` of the one before."""
    for heading, body in _sections(text):
        held: list[str] = []
        tokens = fresh = 0
        for piece in _pieces(body, chunk_tokens):
            size = count_tokens(piece)
            if fresh and tokens + size > chunk_tokens:
                yield Passage(source, document, heading, "".join(held).strip())
                held, tokens = _tail(held, overlap_tokens)
                fresh = 0
            held.append(piece)
            tokens += size
            fresh += 1
        if fresh and "".join(held).strip():
            yield Passage(source, document, heading, "".join(held).strip())


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Each heading with what stands under it."""
    heading = ""
    lines: list[str] = []
    for line in text.splitlines():
        if _HEADING.match(line):
            if any(each.strip() for each in lines):
                yield heading, "\n".join(lines)
            heading, lines = line.lstrip("#").strip(), []
        else:
            lines.append(line)
    if any(each.strip() for each in lines):
        yield heading, "\n".join(lines)


def _pieces(body: str, most_tokens: int) -> Iterator[str]:
    """Sentences; one that is too long by itself is cut at words."""
    for sentence in split_sentences(body):
        if count_tokens(sentence) <= most_tokens:
            yield sentence
            continue
        words: list[str] = []
        size = 0
        for word in re.findall(r"\S{1,200}\s*", sentence):
            tokens = count_tokens(word)
            if words and size + tokens > most_tokens:
                yield "".join(words)
                words, size = [], 0
            words.append(word)
            size += tokens
        if words:
            yield "".join(words)


def _tail(pieces: list[str], most_tokens: int) -> tuple[list[str], int]:
    kept: list[str] = []
    tokens = 0
    for piece in reversed(pieces):
        size = count_tokens(piece)
        if tokens + size > most_tokens:
            break
        kept.insert(0, piece)
        tokens += size
    return kept, tokens
