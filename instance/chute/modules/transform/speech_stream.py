"""One text on its way to a voice: cut into blocks and sentences as soon as they are complete, cleaned, counted. Pure."""

from __future__ import annotations

import re
from html import escape
from typing import Literal

from instance.chute.modules.transform.speakable import Speech, is_plain, is_spoken, sentences
from instance.chute.sentences import ends_sentence, last_end, sentence_ends

HOLD_MAX_CHARS = 200_000
NEAR_CHARS = 160
TAIL_CHARS = 12
TAIL_KNOWN_CHARS = 6
"""What a mark or a new line ends is known once so many more characters came, of so many at the end that are no such mark."""
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_BLANK_LINE = re.compile(r"[^\S\n]*(?:\n|\Z)")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_JSON = re.compile(r'\s*(?:\{\s*(?:["}])|\[\s*(?:["{\[\]\d-]|true\b|false\b|null\b))')
_STIRS = re.compile(r"[\n.!?…。！？｡`~]")
_MARK = re.compile(r"[.!?](?= |\Z)")
_ENDS_BLOCK = re.compile(r"[\n`~]")
_MARKUP_SIGN = re.compile(r"[#_`~\[\]<>|\\&$]|\*(?=\S)")
"""A star before a space may begin an item, and the sentence then ends before it."""
_ITEM_START = re.compile(r"(?:[-+]|\d{1,3}[.)])[ \t]+[^\s.!?…。！？｡]")
_CLOSING = " \t'\"”’)]*_"
_JSON_MAYBE = re.compile(r"\s*(?:[{\[]\s*)?\Z")


def spoken_length(text: str, most: int) -> int:
    """How much of a whole text is said where it is spoken as it stands, and there is nothing to do but to end it at the limit (0:
    none); 0: it has to be seen sentence by sentence."""
    if not most or len(text) <= most:
        return len(text) if is_spoken(text) else 0
    over = _MARK.search(text, most)  # no more is looked at than the sentence that goes over the limit
    if over is None or not is_spoken(text[: over.end()]) or not ends_sentence(text, over.start()):
        return 0
    return last_end(text, most)


class SpeechStream:
    """`feed` gives what can be spoken now. Fed at once or in pieces, the outcome is the same text.

    Text that begins as JSON passes as it is. `ended` becomes true when the limit of characters is reached."""

    def __init__(self, speech: Speech, output: Literal["text", "ssml"], max_chars: int) -> None:
        self._speech = speech
        self._ssml = output == "ssml"
        self._max = max_chars
        self._held = ""
        self._is_json: bool | None = None
        self._said = 0
        self._fresh = False
        self._is_quiet = False
        """No more of what is held is ready before something comes that ends a sentence or a block."""
        self._is_block = False
        """What is held is given back as a whole block: there is markup in its first sentence."""
        self.chars_before = 0
        self.chars_after = 0
        self.ended = False

    def waits(self, text: str, last: bool) -> str | None:
        """Take a text that is no end of anything, as most are: nothing may be sent then. `None`: it has to be fed."""
        if not self._is_quiet or self._is_json is not False or last or self.ended:
            return None
        stirs = _ENDS_BLOCK if self._is_block else _STIRS
        if stirs.search(text) is not None or len(self._held) + len(text) > HOLD_MAX_CHARS:
            return None
        self.chars_before += len(text)
        self._held += text
        return ""

    def feed(self, text: str, last: bool) -> str:
        """What may be sent now; with `last` everything that is left."""
        if last and not self.chars_before and text and not (self._ssml or self._speech.spell):
            length = spoken_length(text, self._max)
            if length:
                self.chars_before, self.chars_after = len(text), length
                self.ended = length < len(text)
                self._said = length + 1
                return text[:length] if self.ended else text
        if self.waits(text, last) is not None:
            return ""
        self.chars_before += len(text)
        if self.ended:
            return ""
        self._held += text
        self._is_quiet = False
        if self._is_json is None:
            if not last and _JSON_MAYBE.match(self._held):
                return ""
            self._is_json = _JSON.match(self._held) is not None
        if self._is_json:
            held, self._held = self._held, ""
            self.chars_after += len(held)
            return held
        out: list[str] = []
        while self._held and not self.ended:
            taken = self._take(last)
            if not taken:
                break
            block, self._held = self._held[:taken], self._held[taken:]
            self._is_block = False
            if block.strip():
                out += self._speak(block)
            if self._ssml:
                self._fresh = _ends_paragraph(block)
        if not last:
            self._is_quiet = self._waits()
        if self._ssml and (last or self.ended) and self._said:
            out.append("</speak>")
        made = "".join(out)
        self.chars_after += len(made)
        return made

    def _waits(self) -> bool:
        """Whether what is held is sure to wait for a mark or the end of a line, or of a line alone in a block."""
        held = self._held
        tail = held[-TAIL_CHARS:]
        stirs = _ENDS_BLOCK if self._is_block else _STIRS
        return stirs.search(tail) is None and (len(held) <= TAIL_CHARS or len(tail.strip(_CLOSING)) >= TAIL_KNOWN_CHARS)

    def _take(self, last: bool) -> int:
        """How much of what is held is one complete piece: a sentence of plain words, else a whole block. 0: not yet."""
        held = self._held
        blank = len(held) - len(held.lstrip("\n \t"))
        line_start = held.rfind("\n", 0, blank) + 1
        if line_start:
            return line_start
        fence = _FENCE.match(held)
        if fence is not None:
            self._is_block = True
            return self._fence_end(fence[1], last)
        if _FENCE.match(held + "``") and not last and "\n" not in held and len(held.strip()) < 3:
            return 0
        end = self._block_end(last)
        if held[0] in "#>|" or _ITEM_START.match(held) is not None:
            self._is_block = True
        if not self._is_block:
            stop = end or len(held)
            sentence = _first_end(held, stop)
            if sentence and (sentence < stop or end) and is_plain(held[:sentence].rstrip()):
                return sentence
            self._is_block = _begins_with_markup(held, sentence)
        if not end and len(held) > HOLD_MAX_CHARS:
            return len(held)
        return end

    def _fence_end(self, fence: str, last: bool) -> int:
        place = self._held.find("\n") + 1
        while place:
            end = self._held.find("\n", place)
            line = self._held[place:] if end < 0 else self._held[place:end]
            if end < 0 and not last:
                return 0
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                return len(self._held) if end < 0 else end + 1
            place = end + 1
        return len(self._held) if last else 0

    def _block_end(self, last: bool) -> int:
        """Where the block ends: at a blank line (a list goes on over it), before a fence; with `last` at the end."""
        held = self._held
        is_list = _ITEM.match(held) is not None
        place = 0
        while True:
            end = held.find("\n", place)
            if end < 0:
                return len(held) if last else 0
            start = end + 1
            if start == len(held) and not last:
                return 0
            if _FENCE.match(held, start) and not (is_list and held[start].isspace()):
                return start
            if _BLANK_LINE.match(held, start):
                following = held[start:]
                rest = following.lstrip(" \t\n")
                if not rest and not last:
                    return 0
                indent = following[: len(following) - len(rest)].rpartition("\n")[2]
                if is_list and rest and not last and "\n" not in rest and len(rest) < 6:
                    return 0  # whether the list goes on is not known yet
                if not (is_list and rest and (_ITEM.match(rest) or len(indent) >= 2)):
                    return start
            place = start

    def _speak(self, block: str) -> list[str]:
        out: list[str] = []
        for number, sentence in enumerate(sentences(block, self._speech)):
            room = self._max - self._said if self._max else len(sentence)
            if len(sentence) > room:
                self.ended = True
                if self._said:
                    break
                sentence = sentence[:room].rsplit(" ", 1)[0].rstrip(" ,;:") + "."
            out.append(self._form(sentence, first=number == 0 and self._fresh))
            self._said += len(sentence) + 1
            if self.ended:
                break
        return out

    def _form(self, sentence: str, *, first: bool) -> str:
        if not self._ssml:
            return f" {sentence}" if self._said else sentence
        said = f"<s>{escape(sentence, quote=False)}</s>"
        if not self._said:
            return f"<speak>{said}"
        return f'<break strength="strong"/>{said}' if first else said


def _first_end(text: str, stop: int) -> int:
    """Where the first sentence ends before `stop`; 0: nowhere. Most end soon, so that little is looked at."""
    for window in (NEAR_CHARS, stop):
        if window <= stop:
            ends = sentence_ends(text[:window])
            if ends and (ends[0] < window or window == stop):
                return ends[0]
    return 0


def _begins_with_markup(text: str, sentence: int) -> bool:
    """Whether the first sentence, wherever it ends, holds markup; it ends at `sentence` or, 0, behind the text."""
    sign = _MARKUP_SIGN.search(text)
    return sign is not None and (not sentence or sign.start() < sentence)


def _ends_paragraph(block: str) -> bool:
    """Whether what follows is a paragraph of its own."""
    bare = block.rstrip()
    return block.count("\n", len(bare)) >= (2 if bare else 1) or (bool(bare) and not is_plain(bare))
