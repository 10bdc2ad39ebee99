"""Making a text shorter without changing what it says: pure functions of text, for promptslim.

Code fences, double-quoted strings and what stands between `<keep>` and `</keep>` come through as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import log
from typing import NamedTuple

import orjson

from instance.chute.quick_look import QuickLook

PARAGRAPH_MIN_CHARS = 20
"""Shorter paragraphs are never taken for accidental repeats."""
JSON_MIN_CHARS = 40
QUOTE_MAX_CHARS = 1000
KEEP = "<keep>"
LONG_SENTENCES = 8
LONG_CHARS = 800

PHRASES: dict[str, str] = {
    "in order to": "to",
    "so as to": "to",
    "due to the fact that": "because",
    "owing to the fact that": "because",
    "in light of the fact that": "because",
    "for the reason that": "because",
    "in spite of the fact that": "although",
    "despite the fact that": "although",
    "in the event that": "if",
    "on the condition that": "if",
    "at this point in time": "now",
    "at the present time": "now",
    "in the near future": "soon",
    "prior to": "before",
    "subsequent to": "after",
    "for the purpose of": "for",
    "with regard to": "about",
    "with respect to": "about",
    "in relation to": "about",
    "in connection with": "about",
    "with the exception of": "except",
    "a large number of": "many",
    "a majority of": "most",
    "the majority of": "most",
    "in the process of": "",
    "has the ability to": "can",
    "is able to": "can",
    "are able to": "can",
    "make use of": "use",
    "take into consideration": "consider",
    "in a manner that": "so that",
    "it is important to note that": "",
    "please note that": "",
    "it should be noted that": "",
    "needless to say": "",
    "as a matter of fact": "",
    "i would like you to": "",
    "i want you to": "",
    "i need you to": "",
    "i was wondering if you could": "",
    "could you please": "",
    "would you please": "",
    "can you please": "",
    "would you mind": "",
    "if you don't mind": "",
    "thank you very much": "",
    "thanks in advance": "",
    "thank you in advance": "",
    "please": "",
    "kindly": "",
}
"""Wordy phrases and what says the same; empty for openings and politeness that say nothing."""

_MARK = re.compile(r"<keep>|<!--|^[ \t]*(`{3,}|~{3,})", re.MULTILINE)
_SPARE = re.compile(r'"[^"\n]*"|“[^“”\n]*”|[\u200b\u2060\ufeff]+|(?<=\S)[ \t]{2,}(?=\S)')
_LINE_END = re.compile(r"(?<![ \t])[ \t]+\n")
_BLANK_LINES = re.compile(r"\n{3,}")
_JSON_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')
_TABLE_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?]+\s+|\n+")
_WORD = re.compile(r"\w+")


def may_shorten(text: str) -> bool:
    """Whether level 1 could find anything: a quick look, for the many texts in which there is nothing."""
    return (
        ("\n" in text and ("\n\n" in text or " \n" in text))
        or "\t" in text
        or ("<" in text and ("<keep>" in text or "<!--" in text))
        or (not text.isascii() and ("\u200b" in text or "\ufeff" in text or "\u2060" in text))
        or text.startswith(("{", "["))
        or "  " in text
    )


class Phrases(NamedTuple):
    """What finds the phrases of level 2, whether any may occur, and what says the same as each."""

    expression: re.Pattern[str]
    without_quotes: re.Pattern[str]
    """The same for texts in which nothing is quoted."""
    may_occur: QuickLook
    table: dict[str, str]


def phrase_table(own: Mapping[str, str]) -> Phrases:
    """The phrases of level 2, longest first, with `own` added to the built-in ones."""
    table = {**PHRASES, **{phrase.lower(): short for phrase, short in own.items() if phrase.strip()}}
    by_letter: dict[str, list[str]] = {}
    for phrase in sorted(table, key=len, reverse=True):
        by_letter.setdefault(phrase[0], []).append(re.escape(phrase[1:]))
    # At each place one letter is looked at before any of the phrases that begin with it.
    words = "|".join(f"{re.escape(letter)}(?:{'|'.join(rests)})" for letter, rests in by_letter.items())
    found = rf"(?<!\w)(?:{words})(?!\w),?[ \t]?"
    return Phrases(
        re.compile(rf'"[^"\n]*"|“[^“”\n]*”|{found}', re.IGNORECASE),
        re.compile(found, re.IGNORECASE),
        QuickLook(re.compile(words, re.IGNORECASE)),
        table,
    )


def slim(text: str, level: int, phrases: Phrases, keep_pct: int) -> str:
    """The text at the level: 1 loses nothing for a reader, 2 also wordiness, 3 also sentences that say little."""
    seen: set[str] = set()
    out: list[str] = []
    position = 0
    for start, end, kept in _protected(text):
        out.append(_slim_free(text[position:start], level, phrases, seen))
        out.append(kept)
        position = end
    rest = _slim_free(text[position:], level, phrases, seen).rstrip(" \t\n")
    out.append(_drop_sentences(rest, keep_pct) if level >= 3 and position == 0 else rest)
    return "".join(out)


def untagged(text: str) -> str:
    """The text without the tags around what is to be kept, which say nothing to a model."""
    out: list[str] = []
    position = 0
    for start, end, kept in _protected(text):
        if text.startswith(KEEP, start):
            out += (text[position:start], kept)
            position = end
    return "".join((*out, text[position:]))


def _protected(text: str) -> Iterator[tuple[int, int, str]]:
    """What is not slimmed: `(start, end, what stands there afterwards)` of fences, `<keep>` and comments, in order.

    An opening without its end protects nothing, but a fence, which then reaches to the end of the text. Linear in the
    text: an end that was not found once is not looked for again.
    """
    position = 0
    unclosed: set[str] = set()
    if "<" not in text and "```" not in text and "~~~" not in text:
        return
    while (mark := _MARK.search(text, position)) is not None:
        opening, start, position = mark.group(), mark.start(), mark.end()
        fence = mark.group(1)
        if fence:
            close = re.compile(rf"^[ \t]*{fence}[ \t]*$", re.MULTILINE).search(text, position)
            position = close.end() if close is not None else len(text)
            yield start, position, text[start:position]
            continue
        closing = "</keep>" if opening == "<keep>" else "-->"
        if closing in unclosed or (opening == "<!--" and _in_quotes(text, start)):
            continue
        end = text.find(closing, position)
        if end < 0:
            unclosed.add(closing)
            continue
        yield start, end + len(closing), text[position:end] if opening == "<keep>" else ""
        position = end + len(closing)


def _in_quotes(text: str, position: int) -> bool:
    """Whether an odd number of double quotes stands before the position, on its line, as far as one looks."""
    line = max(text.rfind("\n", max(0, position - QUOTE_MAX_CHARS), position) + 1, position - QUOTE_MAX_CHARS, 0)
    return text.count('"', line, position) % 2 == 1


def _slim_free(text: str, level: int, phrases: Phrases, seen: set[str]) -> str:
    if not text:
        return text
    paragraphs = []
    if " \n" in text or "\t\n" in text:
        text = _LINE_END.sub("\n", text)
    for paragraph in text.split("\n\n"):
        bare = paragraph.strip()
        if len(bare) >= JSON_MIN_CHARS and bare[0] in "{[" and bare[-1] in "}]":
            small = _minified(bare)
            if small is not None:
                paragraphs.append(paragraph.replace(bare, small))
                continue
        if len(bare) >= PARAGRAPH_MIN_CHARS:
            if bare in seen:
                edge = paragraph.split(bare, 1)
                paragraphs.append("\n" if "\n" in edge[0] or "\n" in edge[1] else "")
                continue
            seen.add(bare)
        if _may_have_spare(paragraph):
            paragraph = _SPARE.sub(_without_spare, paragraph)
        if level >= 2:
            if "|" in paragraph:
                paragraph = _TABLE_ROW.sub(_narrow_row, paragraph)
            if phrases.may_occur(paragraph):
                is_quoted = '"' in paragraph or "“" in paragraph
                expression = phrases.expression if is_quoted else phrases.without_quotes
                paragraph = expression.sub(_shorter(phrases.table), paragraph)
        paragraphs.append(paragraph)
    made = "\n\n".join(paragraphs)
    return _BLANK_LINES.sub("\n\n", made) if "\n\n\n" in made else made


def _may_have_spare(text: str) -> bool:
    return (
        "  " in text
        or "\t" in text
        or (not text.isascii() and ("\u200b" in text or "\u2060" in text or "\ufeff" in text))
    )


def _minified(bare: str) -> str | None:
    """JSON without the blanks between its tokens, its values untouched; `None` when it is none."""
    try:
        orjson.loads(bare)
    except orjson.JSONDecodeError:
        return None
    return _JSON_SPACE.sub(lambda match: match.group(1) or "", bare)


def _without_spare(match: re.Match[str]) -> str:
    found = match.group()
    if found[0] in '"“':
        return found
    return " " if found[0] in " \t" else ""


def _narrow_row(match: re.Match[str]) -> str:
    row = re.sub(r"(?<![ \t])[ \t]*\|[ \t]*", "|", match.group().strip())
    return re.sub(r"-{4,}", "---", row)


def _shorter(table: dict[str, str]) -> Callable[[re.Match[str]], str]:
    def shorter(match: re.Match[str]) -> str:
        found = match.group()
        if found[0] in '"“':
            return found
        bare = found.rstrip(" \t").rstrip(",")
        short = table.get(bare.lower())
        if short is None:
            return found  # with a letter that is the same but for its case only here: a Turkish i
        if not short:
            return ""
        if found[0].isupper():
            short = short[0].upper() + short[1:]
        return short + found[len(bare) :]

    return shorter


def _drop_sentences(text: str, keep_pct: int) -> str:
    """The text without its sentences of least information, by mean TF-IDF over its own sentences."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    sentences = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    words = [_WORD.findall(sentence.lower()) for sentence in sentences]
    real = [index for index, found in enumerate(words) if len(found) >= 3]
    if len(real) < LONG_SENTENCES or len(text) < LONG_CHARS or '"' in text:
        return text
    spread = Counter(word for index in real for word in set(words[index]))
    total = len(real)

    def weight(index: int) -> float:
        return sum(log(total / spread[word]) for word in words[index]) / len(words[index])

    dropped = set(sorted(real, key=weight)[: total - max(1, total * keep_pct // 100)])
    return "".join(sentence for index, sentence in enumerate(sentences) if index not in dropped)
