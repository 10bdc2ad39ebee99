"""Faults of prompts, each a rule: what is looked at, why it is a fault, and how it is mended. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from instance.chute.answer import JSON
from instance.chute.tokens import count_tokens

Severity = Literal["off", "info", "warn", "error"]
SHINGLE_WORDS = 5
PARAGRAPH_MIN_WORDS = 8
PARAGRAPHS_MAX = 200
SIMILAR = 0.8
QUOTE_MIN_CHARS = 30
_BLANK_LINE = re.compile(r"\n\s*\n")


class Fault(NamedTuple):
    """One finding: the rule, where it stands (a path into the request), why it is a fault and how to mend it."""

    rule: str
    path: str
    why: str
    mend: str


@dataclass(slots=True)
class Prompt:
    """A request as the rules see it: its system texts and messages with their paths, parsed once."""

    req: JSON
    max_system_tokens: int
    system: list[tuple[str, str]]
    users: list[tuple[str, str]]

    @classmethod
    def of(cls, req: JSON, max_system_tokens: int) -> Prompt:
        """From a chat request."""
        system, users = [], []
        for number, message in enumerate(req.get("messages") or ()):
            if not isinstance(message, dict):
                continue
            role, path = message.get("role"), f"messages[{number}].content"
            content = text_of(message)
            if content is not None:
                if role in ("system", "developer"):
                    system.append((path, content))
                elif role == "user":
                    users.append((path, content))
        return cls(req, max_system_tokens, system, users)

    @property
    def texts(self) -> list[tuple[str, str]]:
        return self.system + self.users


def text_of(message: JSON) -> str | None:
    """What a message says, its text parts joined."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return "\n".join(parts)
    return content if isinstance(content, str) else None


Rule = Callable[[Prompt], Iterator[Fault]]


class Found(NamedTuple):
    """A rule: how grave its faults are unless the settings say otherwise, what finds them, and whether it reads the user's
    messages too (the rest repeats from call to call)."""

    severity: Severity
    find: Rule
    reads_user: bool


RULES: dict[str, Found] = {}


def _rule(name: str, severity: Severity, *, reads_user: bool = False) -> Callable[[Rule], Rule]:
    def register(find: Rule) -> Rule:
        RULES[name] = Found(severity, find, reads_user)
        return find

    return register


def faults(prompt: Prompt, names: Iterable[str]) -> Iterator[Fault]:
    """Every fault that these rules find."""
    for name in names:
        yield from RULES[name].find(prompt)


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


@_rule("empty_system", "warn")
def _empty_system(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.system:
        if not text.strip():
            yield Fault(
                "empty_system", path, "The system message is empty.", "Leave it out, or say what the model is for."
            )


@_rule("duplicate_system", "warn")
def _duplicate_system(prompt: Prompt) -> Iterator[Fault]:
    seen: set[str] = set()
    for path, text in prompt.system:
        bare = " ".join(text.split()).casefold()
        if bare and bare in seen:
            yield Fault("duplicate_system", path, "The same system message stands there twice.", "Send it once.")
        seen.add(bare)


_CONTRADICTIONS = (
    (r"\b(?:be|keep (?:it|answers?)|answer|reply) (?:very )?(?:brief|short|concise)|\bin one sentence\b|\bbriefly\b", r"\bin (?:great |full |more )?detail\b|\bdetailed\b|\bcomprehensive\b|\bat length\b|\bas long as\b", "brief and in detail"),
    (r"\bonly (?:in |with |valid )*json\b|\bjson only\b|\bnothing but json\b", r"\bexplain (?:first|your|why|the|each)|\bbefore (?:you )?answer|\bthink (?:out loud|step by step)", "only JSON and an explanation"),
    (r"\bformal(?:ly)? (?:tone|style|language)|\bbe formal\b", r"\binformal\b|\bcasual(?:ly)?\b|\bslang\b", "formal and casual"),
    (r"\bdo not use (?:any )?(?:lists?|bullets?|bullet points)|\bno (?:lists|bullets|bullet points)\b", r"\buse (?:bullet points|bullets|a (?:bulleted |numbered )?list)|\bas a (?:bulleted |numbered )?list\b", "without and with lists"),
    (r"\balways (?:answer|reply|respond) in english\b|\bonly (?:in )?english\b", r"\b(?:same|user'?s) language\b|\b(?:always |only )?(?:answer|reply|respond) in (?:german|french|spanish|italian|dutch|polish|japanese|chinese)\b", "in two languages"),
)  # fmt: skip
_CONTRADICTORY = [(re.compile(a, re.I), re.compile(b, re.I), what) for a, b, what in _CONTRADICTIONS]


@_rule("contradiction", "warn")
def _contradiction(prompt: Prompt) -> Iterator[Fault]:
    text = "\n".join(text for _, text in prompt.system)
    path = prompt.system[0][0] if prompt.system else ""
    for one, other, what in _CONTRADICTORY:
        if one.search(text) and other.search(text):
            yield Fault(
                "contradiction", path, f"It asks for answers {what}.", "Decide for one, or say when which holds."
            )


_PLACEHOLDER = re.compile(
    r"\{\{\s*[A-Za-z_][\w .-]{0,40}\s*\}\}|<(?:TODO|FIXME|INSERT|YOUR|PLACEHOLDER)[^<>\n]{0,40}>|\[(?:INSERT|TODO|YOUR|PLACEHOLDER)\b[^\[\]\n]{0,40}\]|\$\{[A-Za-z_]\w{0,40}\}"
)


@_rule("unfilled_placeholder", "error", reads_user=True)
def _unfilled(prompt: Prompt) -> Iterator[Fault]:
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


@_rule("repeated_paragraph", "info", reads_user=True)
def _repeated(prompt: Prompt) -> Iterator[Fault]:
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


_WANTS_JSON = re.compile(
    r"\b(?:answer|reply|respond|return|output|produce|give)\b[^.\n]{0,40}\bjson\b|\b(?:only|valid|in|as) json\b|\bjson (?:only|object|array)\b",
    re.I,
)
_JSON_WORD = re.compile(r"json", re.I)


@_rule("json_without_format", "warn")
def _json_without_format(prompt: Prompt) -> Iterator[Fault]:
    if prompt.req.get("response_format") or prompt.req.get("tools"):
        return
    for path, text in prompt.system:
        if _WANTS_JSON.search(text):
            yield Fault(
                "json_without_format",
                path,
                "JSON is asked for in words only.",
                "Set response_format too, so that it is sure to be JSON.",
            )
            return


@_rule("format_without_json", "warn", reads_user=True)
def _format_without_json(prompt: Prompt) -> Iterator[Fault]:
    form = prompt.req.get("response_format")
    if (
        isinstance(form, dict)
        and form.get("type") == "json_object"
        and not any(_JSON_WORD.search(t) for _, t in prompt.texts)
    ):
        yield Fault(
            "format_without_json",
            "response_format",
            "json_object is asked for, and no message says JSON.",
            "Say in a message that the answer is JSON, and of which form.",
        )


_FENCED_JSON = re.compile(r"```json\s*\n(.*?)```", re.DOTALL | re.I)


@_rule("example_does_not_parse", "warn")
def _example(prompt: Prompt) -> Iterator[Fault]:
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


@_rule("user_text_in_system", "warn", reads_user=True)
def _user_text(prompt: Prompt) -> Iterator[Fault]:
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


INJECTION = (
    r"(?i)\b(?:ignore|disregard|forget) (?:all |any |the )?(?:previous|prior|above|earlier) (?:instructions|rules|messages|prompts)"
    r"|\byou are now\b[^.\n]{0,40}\bwithout (?:any )?(?:rules|restrictions|limits)|\breveal (?:your|the) (?:system )?prompt\b"
)
"""In the form of RE2, for the shared matcher."""
_INJECTION = re.compile(INJECTION)


@_rule("injection_phrase", "warn", reads_user=True)
def _injection(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.texts:
        found = _INJECTION.search(text)
        if found is not None:
            yield Fault(
                "injection_phrase",
                path,
                f"“{found.group()[:60]}” is how injections speak.",
                "Mark text of others as data; say it otherwise if it is yours.",
            )


@_rule("long_system", "info")
def _long(prompt: Prompt) -> Iterator[Fault]:
    tokens = sum(count_tokens(text) for _, text in prompt.system)
    if prompt.system and tokens > prompt.max_system_tokens:
        yield Fault(
            "long_system",
            prompt.system[0][0],
            f"System messages have about {tokens} tokens.",
            f"Keep them under {prompt.max_system_tokens}: they are paid with every call.",
        )


@_rule("tool_without_description", "info")
def _tools(prompt: Prompt) -> Iterator[Fault]:
    for number, tool in enumerate(prompt.req.get("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            continue
        path = f"tools[{number}].function"
        if not str(function.get("description") or "").strip():
            yield Fault(
                "tool_without_description",
                f"{path}.description",
                f"The tool {function.get('name')!r} is not described.",
                "Say what it does and when to call it.",
            )
        properties = (
            (function.get("parameters") or {}).get("properties")
            if isinstance(function.get("parameters"), dict)
            else None
        )
        bare = [
            name for name, each in (properties or {}).items() if isinstance(each, dict) and not each.get("description")
        ]
        if bare and len(bare) == len(properties or {}):
            yield Fault(
                "tool_without_description",
                f"{path}.parameters",
                f"No parameter of {function.get('name')!r} is described.",
                "Describe each: unit, form, example.",
            )


_ENDS_WELL = re.compile(r"[.!?:;…)\]}>\"'”’`*_|\-–—/\d]\s*\Z")
_ENDS_OPEN = re.compile(
    r"\b(?:and|or|the|a|an|of|to|with|that|for|in|by|as|if|when|because|und|oder|der|die|das)\s*\Z", re.I
)


@_rule("cut_off", "warn")
def _cut_off(prompt: Prompt) -> Iterator[Fault]:
    for path, text in prompt.system:
        if text.strip() and not _ENDS_WELL.search(text) and _ENDS_OPEN.search(text):
            yield Fault("cut_off", path, "The text ends in the middle of a sentence.", "Look whether it was cut.")
        elif text.count("```") % 2:
            yield Fault("cut_off", path, "A code fence is not closed.", "Close it, or take it out.")


_SCRIPTS = {"Latin": re.compile(r"[A-Za-zÀ-ɏ]"), "Cyrillic": re.compile(r"[Ѐ-ӿ]"), "Greek": re.compile(r"[Ͱ-Ͽ]"), "Han": re.compile(r"[一-鿿]"), "Kana": re.compile(r"[぀-ヿ]"), "Arabic": re.compile(r"[؀-ۿ]"), "Hebrew": re.compile(r"[֐-׿]"), "Hangul": re.compile(r"[가-힯]")}  # fmt: skip


@_rule("mixed_scripts", "info")
def _mixed(prompt: Prompt) -> Iterator[Fault]:
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


_INVISIBLE = re.compile("[\u200b\u200c\u2060\ufeff\u00ad\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


@_rule("invisible_characters", "warn", reads_user=True)
def _invisible(prompt: Prompt) -> Iterator[Fault]:
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


@_rule("temperature_and_top_p", "info")
def _sampling(prompt: Prompt) -> Iterator[Fault]:
    if prompt.req.get("temperature") not in (None, 1, 1.0) and prompt.req.get("top_p") not in (None, 1, 1.0):
        yield Fault("temperature_and_top_p", "top_p", "temperature and top_p are both changed.", "Change one of them.")


@_rule("too_few_tokens_for_schema", "warn")
def _too_few(prompt: Prompt) -> Iterator[Fault]:
    limit: Any = prompt.req.get("max_completion_tokens") or prompt.req.get("max_tokens")
    form = prompt.req.get("response_format")
    schema = (
        (form.get("json_schema") or {}).get("schema")
        if isinstance(form, dict) and form.get("type") == "json_schema"
        else None
    )
    if isinstance(limit, int) and isinstance(schema, dict):
        needed = _least_tokens(schema)
        if limit < needed:
            yield Fault(
                "too_few_tokens_for_schema",
                "max_tokens",
                f"The schema needs about {needed} tokens at least.",
                "Allow more, or ask for less.",
            )


def _least_tokens(schema: Any, depth: int = 0) -> int:
    """About how many tokens the smallest value of a schema has."""
    if not isinstance(schema, dict) or depth > 8:
        return 1
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = set(schema.get("required") or ())
        return 2 + sum(
            count_tokens(name) + 2 + _least_tokens(each, depth + 1)
            for name, each in properties.items()
            if name in required
        )
    if schema.get("type") == "array":
        least = schema.get("minItems")
        return 2 + (least if isinstance(least, int) else 0) * (1 + _least_tokens(schema.get("items"), depth + 1))
    return 1
