"""Quoted words that a text only speaks of: what is to be translated, tested for or told of is nobody's order."""

from __future__ import annotations

import re

_MENTIONED = re.compile(r"(?<!\w)[\"“«'‘`](?=\S+[ \t])[^\"“”«»'’`\n]{8,300}[\"”»'’`](?!\w)")
"""Words in quotation marks, apostrophes inside of words aside."""
_SPEAKS_OF_WORDS = re.compile(
    r"\b(?:translat(?:e|es|ed|ing|ion)\b(?!\W+and\b)|proofread|classif(?:y|ies|ied)|rephrase|reword|paraphrase|pronounce|sentiment|grammar|tone|slogan|headline|"
    r"(?:texts?|words?|phrases?|sentences?|strings?|lines?|messages?|inputs?|prompts?|patterns?|requests?)\W+(?:like|such as|that (?:say|read|contain)s?|is\b|means?)|(?:the|a|this|an|following) (?:phrase|sentence|string|wording|expression|tweet|quote|meme|lyrics?|saying|motto)|"
    r"such as|(?:say|says|said|wrote|writes|written|means?|called|titled|asked|contains?|begins?|became|becomes)\W*$|regexp?|regular expression|unit tests?|test cases?|assert|return|const|def \w+)\b"
    r"|\b(?:say|says|said|wrote|sent|writes|means?|called|titled|entitled|contains?|flags?|blocks?|catch(?:es)?|refuses?)[^.\n\"“«'‘`]{0,40}[\"“«'‘`]",
    re.IGNORECASE,
)
"""What shows, beside quoted words, that they are only spoken of."""
_WANTS_THEM_DONE = re.compile(
    r"\b(?:complete|finish|continue|go on|fill in|obey|execute|carry (?:it |this |them )?out|(?:do|follow|perform|apply|run|act on) (?:it|them|this|that|what|as)|then (?:do|follow|answer|obey)|answer (?:it|that|this))\b",
    re.IGNORECASE,
)
"""What shows that the words are to be gone on with or carried out."""


def without_mentions(text: str) -> str | None:
    """What is left of a text without the quoted words that it only speaks of; `None`: it speaks of none."""
    bare, count = _MENTIONED.subn('""', text)
    if not count or _SPEAKS_OF_WORDS.search(bare) is None or _WANTS_THEM_DONE.search(bare) is not None:
        return None
    return bare
