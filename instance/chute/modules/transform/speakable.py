"""Markdown turned into sentences that can be spoken, by a parser: headings, lists, tables, code, links, emoji. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.chute.modules.transform.simple_markdown import Part, parts_of
from instance.chute.modules.transform.spoken_english import spoken
from instance.chute.sentences import split_sentences

if TYPE_CHECKING:
    from markdown_it.token import Token

ORDINALS = {
    "en": ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth", "Ninth", "Tenth"],
    "de": [
        "Erstens",
        "Zweitens",
        "Drittens",
        "Viertens",
        "Fünftens",
        "Sechstens",
        "Siebtens",
        "Achtens",
        "Neuntens",
        "Zehntens",
    ],
    "fr": ["Premièrement", "Deuxièmement", "Troisièmement", "Quatrièmement", "Cinquièmement"],
    "es": ["Primero", "Segundo", "Tercero", "Cuarto", "Quinto"],
}
NEXT = {"en": "Next", "de": "Weiter", "fr": "Ensuite", "es": "Después"}
LINK = {"en": "a link", "de": "ein Link", "fr": "un lien", "es": "un enlace"}
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\U00002600-\U000027bf\U00002b00-\U00002bff\U00002300-\U000023ff\U0000fe0e\U0000fe0f\U0000200d\U000020e3"
    "\U000e0020-\U000e007f]"
)
_URL = re.compile(r"(?:https?://|www\.)[^\s<>]*[^\s<>.,;:!?)\]'\"]")
_FOOTNOTE = re.compile(r"\[\^[^\]\s]{1,60}\]")
_SIGN = re.compile(r"[#*_`~\[\]<>|\\&$\n]")
_LINE_START = re.compile(r"\s*(?:[-+]|\d{1,3}[.)])\s|\s{4}|\s*[-=]{3,}\s*\Z")
_WORDS = re.compile(r"[A-Za-z0-9À-ÿ \n,.;:!?'\"()’“”-]*")
_SPOKEN = re.compile(r"""(?:[A-Za-z0-9À-ÿ ,;:'"()’“”-]++(?<=[A-Za-z0-9])[.!?](?!['"”’)]*[ ](?:[-+]|\d{1,9}[.)])))*""")
"""Words on one line up to a mark, none of which stands behind no word, or before the item of a list."""
_ENDS = (".", "!", "?", "…", "。", "！", "？")


class Speech(NamedTuple):
    """How it is to be spoken."""

    code_notice: str
    language: str = "en"
    spell: bool = False


def is_plain(text: str) -> bool:
    """Whether there is nothing in the text that the parser would have to look at."""
    return (
        _SIGN.search(text) is None
        and _LINE_START.match(text) is None
        and not ("http" in text and ("http:" in text or "https:" in text))
        and "www." not in text
    )


def is_spoken(text: str) -> bool:
    """Whether a whole text is spoken as it stands: words and single spaces, each sentence with words in it and a mark behind."""
    return (
        _SPOKEN.fullmatch(text) is not None
        and "  " not in text
        and (text[0].isalpha() or (text[0] != " " and _LINE_START.match(text) is None))
        and not (":" in text and ("http:" in text or "https:" in text))
        and "www." not in text
    )


def sentences(block: str, speech: Speech) -> list[str]:
    """A block of Markdown as sentences, each ending as one."""
    found: Iterable[str]
    if is_plain(block):
        found = _plain_sentences(block, speech)
    else:
        parts = parts_of(block)
        found = _blocks(_parser().parse(block), speech) if parts is None else _said(parts, speech)
    made = (_ended(each) for each in found)
    return [each for each in made if each]


def _said(parts: Sequence[Part], speech: Speech) -> Iterator[str]:
    """What `_blocks` gives for the same, from what was read without the parser."""
    for part in parts:
        if part.kind == "text":
            yield from _plain_sentences(part.texts[0], speech)
        elif part.kind == "list":
            yield from _numbered((list(_plain_sentences(text, speech)) for text in part.texts), speech)
        else:
            rows = [[" ".join(cell.split()) for cell in row] for row in part.rows]
            for row in rows[1:]:
                yield from _row(rows[0], row, speech)


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt  # slow to import, and only needed where there is markup

    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _blocks(tokens: Sequence[Token], speech: Speech) -> Iterator[str]:
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.type in ("fence", "code_block"):
            yield speech.code_notice
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            end = _end_of(tokens, place)
            yield from _list(tokens[place + 1 : end], speech)
            place = end
        elif token.type == "table_open":
            end = _end_of(tokens, place)
            yield from _table(tokens[place + 1 : end], speech)
            place = end
        elif token.type == "inline":
            text = _inline(token, speech)
            if not text.startswith("\0"):
                yield from _plain_sentences(text, speech)
        place += 1


def _list(tokens: Sequence[Token], speech: Speech) -> Iterator[str]:
    """Each item a sentence, its number said."""
    items = []
    place = 0
    while place < len(tokens):
        if tokens[place].type == "list_item_open":
            end = _end_of(tokens, place)
            items.append(list(_blocks(tokens[place + 1 : end], speech)))
            place = end
        place += 1
    return _numbered(items, speech)


def _numbered(items: Iterable[list[str]], speech: Speech) -> Iterator[str]:
    number = 0
    names = ORDINALS.get(speech.language, [])
    for said in items:
        if said:
            word = names[number] if number < len(names) else NEXT.get(speech.language, "")
            number += 1
            yield f"{word}, {said[0]}" if word else said[0]
            yield from said[1:]


def _table(tokens: Sequence[Token], speech: Speech) -> Iterator[str]:
    """Each row a sentence, its values with the names of their columns."""
    head: list[str] = []
    row: list[str] = []
    in_head = False
    for token in tokens:
        if token.type == "thead_open":
            in_head = True
        elif token.type == "thead_close":
            in_head = False
            head, row = row, []
        elif token.type == "inline":
            row.append(" ".join(_inline(token, speech).split()))
        elif token.type == "tr_close" and not in_head:
            yield from _row(head, row, speech)
            row = []


def _row(head: Sequence[str], row: Sequence[str], speech: Speech) -> Iterator[str]:
    cells = [f"{name}: {value}" if name else value for name, value in zip(head, row, strict=False) if value]
    if cells:
        yield _bare(", ".join(cells), speech)


def _inline(token: Token, speech: Speech) -> str:
    """The text of an inline token; a definition of a footnote is marked by a NUL in front."""
    pieces: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            pieces.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            pieces.append("\n")
        elif child.type == "image":
            pieces.append(child.content)
    text = "".join(pieces)
    return "\0" if re.match(r"\[\^[^\]]+\]:", text) else text


def _plain_sentences(text: str, speech: Speech) -> Iterator[str]:
    for sentence in split_sentences(text):
        bare = _bare(sentence, speech)
        if bare:
            yield bare


def _bare(text: str, speech: Speech) -> str:
    """Words alone: no emoji, no addresses, no signs left over from markup."""
    if _WORDS.fullmatch(text) and "www." not in text:
        text = " ".join(text.split())
        return spoken(text) if speech.spell else text
    text = _FOOTNOTE.sub("", _EMOJI.sub("", text))
    text = _URL.sub(LINK.get(speech.language, "a link"), text)
    text = re.sub(r"\b([A-Z])#", r"\1 sharp", text)
    text = re.sub(r"(?<=\d)\s*\*\s*(?=\d)", " times " if speech.language == "en" else " x ", text)
    text = re.sub(r"(?<=\w)_(?=\w)", " ", text)
    text = re.sub(r"[*#`\[\]<>|~\\_]", "", text)
    text = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(text.split()))
    return spoken(text) if speech.spell else text


def _ended(text: str) -> str:
    """With a mark at its end, so that a voice falls there; empty when there are no words."""
    if not any(character.isalnum() for character in text):
        return ""
    bare = text.rstrip()
    closing = bare.rstrip("\"'”’)»")
    if closing.endswith(_ENDS):
        return bare
    return bare.rstrip(" ,;:–-") + "."


def _end_of(tokens: Sequence[Token], place: int) -> int:
    """Where the token that opens here is closed."""
    level = tokens[place].level
    kind = tokens[place].type.replace("_open", "_close")
    for n in range(place + 1, len(tokens)):
        if tokens[n].type == kind and tokens[n].level == level:
            return n
    return len(tokens)
