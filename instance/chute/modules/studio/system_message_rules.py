"""Rules of what the system messages say by themselves: it repeats from call to call. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from instance.chute.modules.studio.prompt_fault import Fault, Prompt
from instance.chute.tokens import count_tokens

_CONTRADICTIONS = (
    (r"\b(?:be|keep (?:it|answers?)|answer|reply) (?:very )?(?:brief|short|concise)|\bin one sentence\b|\bbriefly\b", r"\bin (?:great |full |more )?detail\b|\bdetailed\b|\bcomprehensive\b|\bat length\b|\bas long as\b", "brief and in detail"),
    (r"\bonly (?:in |with |valid )*json\b|\bjson only\b|\bnothing but json\b", r"\bexplain (?:first|your|why|the|each)|\bbefore (?:you )?answer|\bthink (?:out loud|step by step)", "only JSON and an explanation"),
    (r"\bformal(?:ly)? (?:tone|style|language)|\bbe formal\b", r"\binformal\b|\bcasual(?:ly)?\b|\bslang\b", "formal and casual"),
    (r"\bdo not use (?:any )?(?:lists?|bullets?|bullet points)|\bno (?:lists|bullets|bullet points)\b", r"\buse (?:bullet points|bullets|a (?:bulleted |numbered )?list)|\bas a (?:bulleted |numbered )?list\b", "without and with lists"),
    (r"\balways (?:answer|reply|respond) in english\b|\bonly (?:in )?english\b", r"\b(?:same|user'?s) language\b|\b(?:always |only )?(?:answer|reply|respond) in (?:german|french|spanish|italian|dutch|polish|japanese|chinese)\b", "in two languages"),
)  # fmt: skip
_CONTRADICTORY = [(re.compile(a, re.I), re.compile(b, re.I), what) for a, b, what in _CONTRADICTIONS]
_FENCED_JSON = re.compile(r"```json\s*\n(.*?)```", re.DOTALL | re.I)
_ENDS_WELL = re.compile(r"[.!?:;…)\]}>\"'”’`*_|\-–—/\d]\s*\Z")
_ENDS_OPEN = re.compile(
    r"\b(?:and|or|the|a|an|of|to|with|that|for|in|by|as|if|when|because|und|oder|der|die|das)\s*\Z", re.I
)
_SCRIPTS = {"Latin": re.compile(r"[A-Za-zÀ-ɏ]"), "Cyrillic": re.compile(r"[Ѐ-ӿ]"), "Greek": re.compile(r"[Ͱ-Ͽ]"), "Han": re.compile(r"[一-鿿]"), "Kana": re.compile(r"[぀-ヿ]"), "Arabic": re.compile(r"[؀-ۿ]"), "Hebrew": re.compile(r"[֐-׿]"), "Hangul": re.compile(r"[가-힯]")}  # fmt: skip


def empty_system(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.system:
        if not text.strip():
            yield Fault(
                "empty_system", path, "The system message is empty.", "Leave it out, or say what the model is for."
            )


def duplicate_system(prompt: Prompt) -> Iterator[Fault]:
    seen: set[str] = set()
    for path, text in prompt.system:
        bare = " ".join(text.split()).casefold()
        if bare and bare in seen:
            yield Fault("duplicate_system", path, "The same system message stands there twice.", "Send it once.")
        seen.add(bare)


def contradiction(prompt: Prompt) -> Iterator[Fault]:
    text = "\n".join(text for _, text in prompt.system)
    path = prompt.system[0][0] if prompt.system else ""
    for one, other, what in _CONTRADICTORY:
        if one.search(text) and other.search(text):
            yield Fault(
                "contradiction", path, f"It asks for answers {what}.", "Decide for one, or say when which holds."
            )


def example_does_not_parse(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.system:
        for found in _FENCED_JSON.finditer(text):
            try:
                orjson.loads(found.group(1))
            except orjson.JSONDecodeError:
                if "..." not in found.group(1) and "…" not in found.group(1):
                    yield Fault(
                        "example_does_not_parse",
                        path,
                        "An example that is to be JSON does not parse.",
                        "Mend the example: models copy its faults.",
                    )


def long_system(prompt: Prompt) -> Iterator[Fault]:
    tokens = sum(count_tokens(text) for _, text in prompt.system)
    if prompt.system and tokens > prompt.max_system_tokens:
        yield Fault(
            "long_system",
            prompt.system[0][0],
            f"System messages have about {tokens} tokens.",
            f"Keep them under {prompt.max_system_tokens}: they are paid with every call.",
        )


def cut_off(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.system:
        if text.strip() and not _ENDS_WELL.search(text) and _ENDS_OPEN.search(text):
            yield Fault("cut_off", path, "The text ends in the middle of a sentence.", "Look whether it was cut.")
        elif text.count("```") % 2:
            yield Fault("cut_off", path, "A code fence is not closed.", "Close it, or take it out.")


def mixed_scripts(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.system:
        words = re.findall(r"[^\W\d_]{2,}", text)[:2000]
        for word in words:
            if (
                sum(
                    bool(script.search(word))
                    for name, script in _SCRIPTS.items()
                    if name in ("Latin", "Cyrillic", "Greek")
                )
                > 1
            ):
                yield Fault(
                    "mixed_scripts",
                    path,
                    f"{word[:30]!r} mixes letters of two scripts.",
                    "Write it in one: models read it as another word.",
                )
                break
