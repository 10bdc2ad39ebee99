"""What is measured of an answer's text: length, sentences, whether it refuses, whether it is JSON, its language."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import orjson
import re2

from instance.chute.sentences import split_sentences

TEXT_MAX_CHARS = 20_000
REFUSAL_WITHIN_CHARS = 300
"""An answer refuses in its first sentences or not at all."""
LANGUAGE_WITHIN_CHARS = 2_000

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_FENCED = re.compile(r"\A```(?:json)?\s*\n(.*?)\n```\Z", re.DOTALL)

_CANNOT = r"(?:can(?:no|['’]?)t|can not|could(?:n['’]t| not)|am (?:not able|unable)|['’]m (?:not able|unable)|won['’]t|will not)"
_DO = r"(?:help|assist|comply|provide|answer|do|fulfil|fulfill|support|engage|share|create|generate|write|give|discuss|continue|produce|offer)"
_REFUSALS = re2.compile(
    r"(?i)(?:"
    rf"\b(?:i|we)\s*{_CANNOT}\b[^.!?]{{0,40}}\b{_DO}\b"
    rf"|\b(?:i['’]?m|i am|we['’]re) (?:very |really )?sorry\b[^.!?]{{0,30}}\b(?:{_CANNOT}|unable|not able)"
    r"|\b(?:i|we) (?:must|have to) (?:decline|refuse)\b"
    r"|\bas an ai\b[^.!?]{0,60}\b(?:can|could|not|unable)"
    r"|\b(?:against|violates?) (?:my|our|the) (?:guidelines|polic(?:y|ies)|rules|programming)"
    r"|\bich kann (?:dir |ihnen |euch )?(?:dabei |das |hierbei |leider )*(?:nicht|keine)\b"
    r"|\bje ne (?:peux|suis) pas\b|\bno puedo\b|\bnon posso\b|\bnão posso\b|\bik kan (?:je |u )?(?:daar|hier|dat|niet)"
    r")"
)

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
_FUNCTION_WORDS = {
    "en": "the of and to in is that it for as with was on are be this by not or from have you an at which",
    "de": "der die und das ist nicht ein eine den von zu mit sich auf für im dem auch es an als sind wird oder",
    "fr": "le la les et des est un une du que qui dans pour pas au sur ce plus par avec sont il elle ou",
    "es": "el la los las de y en que un una es por con para no se del su lo como más este al",
    "it": "il lo la gli e di che è un una per non con del della sono si da nel come anche più alla",
    "pt": "o a os as de e do da em um uma que não para com por se no na mais como é dos são",
    "nl": "de het een en van is dat niet op te in zijn met voor aan er ook als bij maar om of naar",
    "pl": "i w na nie się z że do jest to jak o po ale co dla od za przez lub są tym",
    "sv": "och att det som en är på i för av inte med den till om ett har de kan från eller",
    "tr": "ve bir bu için ile da de çok olarak daha gibi olan ne var değil en ya her",
}
_LANGUAGES: dict[str, list[str]] = {}
for _name, _words in _FUNCTION_WORDS.items():
    for _word in _words.split():
        _LANGUAGES.setdefault(_word, []).append(_name)


class Features(NamedTuple):
    """What is known of one text."""

    words: int
    sentences: int
    refuses: bool
    is_json: bool
    language: str


def features_of(text: str) -> Features:
    """The features; of a very long text those of its beginning. Takes some tenths of a millisecond."""
    text = text[:TEXT_MAX_CHARS]
    return Features(
        len(text.split()),
        len(split_sentences(text)) if text.strip() else 0,
        _REFUSALS.search(text[:REFUSAL_WITHIN_CHARS]) is not None,
        _is_json(text),
        language_of(text),
    )


def _is_json(text: str) -> bool:
    text = text.strip()
    fenced = _FENCED.match(text)
    if fenced is not None:
        text = fenced[1].strip()
    if not text.startswith(("{", "[")):
        return False
    try:
        orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return False
    return True


def language_of(text: str) -> str:
    """The language by its script, or by the most frequent of its function words; empty when nothing tells."""
    text = text[:LANGUAGE_WITHIN_CHARS]
    letters = sum(map(str.isalpha, text))
    for name, script in _SCRIPTS:
        if letters and len(script.findall(text)) > 0.2 * letters:
            return name
    found: Counter[str] = Counter()
    for word in _WORD.findall(text.lower()):
        for name in _LANGUAGES.get(word, ()):
            found[name] += 1
    if not found:
        return ""
    (best, most), *others = found.most_common(2)
    return best if most >= 2 and (not others or most > others[0][1]) else ""
