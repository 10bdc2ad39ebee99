"""Scores how much a text tries to give the model orders that are not its author's to give."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import re2

from instance.chute.matcher import Matcher
from instance.chute.modules.safety.blocks import BLOCKS_FROM_CHARS, parts_near
from instance.chute.modules.safety.injection_concepts import TOLD_OF_PEOPLE, Concepts
from instance.chute.modules.safety.injection_concepts import TRIGGERS as CONCEPT_TRIGGERS
from instance.chute.modules.safety.mentioned_words import without_mentions
from instance.chute.modules.safety.plain_form import INVISIBLE, plain, unleeted

TEXT_MAX_CHARS = 200_000
"""What of one text is looked at."""
DECODED_MAX = 8
"""Encoded payloads of one text that are decoded."""
ENCODED_MAX_CHARS = 8000
ENCODED_WEIGHT = 3
"""An order that was hidden by an encoding weighs so much more."""
FROM_TOOL = 2.0
"""Orders in tool results and passages: data has none to give."""

_GIVE = (
    r"(?:reveal|show|print|repeat|output|display|tell (?:me|us)|give (?:me|us)|leak|dump|expose|disclose|write (?:out|down)|reproduce|recite|copy|paste|"
    r"return|quote|spell out|echo)"
)


class Rule(NamedTuple):
    name: str
    weight: int
    expression: str


RULES: tuple[Rule, ...] = (
    Rule("new_orders", 3, r"\b(?:(?:your |the |here are (?:your )?)?(?:new|updated|real|actual|true|revised|additional)\W+(?:\w+\W+)?(?:instructions?|task|goal|objective|directives?|orders?|rules)\W*(?::|are|is|follow)|from (?:now on|this (?:point|moment))\W+(?:\w+\W+){0,3}you\b|instead[, ]+(?:you (?:must|will|should)|just|only|simply)?\W*(?:say|output|respond|reply|print|write|answer|reveal)\b)"),
    Rule("imposed_role", 5, r"<\|?(?:im_start|im_end|system|endoftext|start_header_id|end_of_turn|start_of_turn)\|?>|\[/?INST\]|<</?SYS>>|</?(?:system|instructions?|system[_-]prompt)>|\[system\]|(?m)^\W{0,4}(?:begin|end)\W+(?:of\W+)?(?:system|user|admin)\W+(?:prompt|input|instructions?|message)"),
    Rule("imposed_role", 4, r"(?m)^[ \t>*#\[(-]{0,6}(?:system|developer|admin(?:istrator)?|root)(?: (?:message|prompt|override|notice|instructions?|update|command))?[\])* \t]{0,4}:[ \t]*\S|\b(?:system|admin|developer|security) (?:override|update|notice)\b\W*:?|#{2,}[ \t]*(?:system|developer|admin|new instructions?)\b[ \t]*:"),
    Rule("imposed_turns", 3, r"(?m)^\W{0,4}(?:user|human)\W{0,3}:[^\n]*\n+\W{0,4}(?:assistant|ai|model|bot)\W{0,3}:\W{0,3}(?:sure|ok(?:ay)?|of course|certainly|done|understood|yes|i (?:have|will|am)|i'(?:ve|ll|m)|\w+ing)\b"),
    Rule("jailbreak", 5, r"\bdo anything now\b|\b(?:you(?:.re| are)|be|become|as|like|called|named|call yourself|into|persona)\W+(?:\w+\W+){0,2}(?-i:DAN)\b|(?-i:\bDAN)\W+(?:mode|prompt|jailbreak|\d|who can|can do|has no|answers)|\bjailbr(?:eak|oken)\w*\W+(?:mode|yourself|enabled|activated|engaged|successful|initiated|complete|(?:is |now )?on\b|(?:chat)?gpt|claude|gemini|th(?:e|is) (?:ai|model|assistant|bot))|\b(?:you(?:.re| are)|be|become|fully|as an?|into|act|answer|respond|now)\W+(?:\w+\W+){0,2}jailbroken\b|\b(?:developer|god|debug|unrestricted|unfiltered|evil|sudo|admin|maintenance|opposite|chaos) ?mode\b(?:\W+(?:is|now|has|been)){0,3}\W+(?:enabled|activated|engaged|unlocked)|\b(?:developer|god|debug|sudo|root|unrestricted|unfiltered|jailbreak|evil|dan)[ _-]?mode\W{1,3}(?:on(?:\s*[.,;!:]|\s*$)|true|1\b)|\b(?:safety|filters?|moderation|guardrails?|content[ _]filter|restrictions?)\s*[=:]+\s*(?:off|false|none|disabled|0)\b|\b(?:enter|enable|activate|switch (?:in)?to|engage|you are (?:now )?in|simulate)\b(?:\W+\w+){0,3}\W+(?:developer|god|debug|unrestricted|unfiltered|evil|sudo|admin|maintenance|DAN|jailbreak) ?mode"),
    Rule("jailbreak", 5, r"\b(?:you|ai|assistant|chatbot|model|character|persona|it|that|who|answer|respond|reply|act|behave|pretend|imagine)\b(?:\W+[\w']+){0,14}\W+(?:without|with no|has no|have no|had no|free (?:of|from)|no longer (?:bound|restricted|limited|constrained)|not (?:bound|restricted|limited|constrained)|isn'?t bound|aren'?t bound|unbound|unconstrained|unrestricted|uncensored|unfiltered)(?:\W+[\w']+){0,4}\W+(?:restrictions?|rules?|filters?|limit(?:s|ations?)?|guidelines?|ethic\w*|moral\w*|censorship|safety|polic(?:y|ies)|constraints?|ai|responses?|answers?|assistant|model|chatbot|guardrails?|boundaries)"),
    Rule("persona", 3, r"\b(?:you are (?:now|no longer)|pretend (?:to be|that you|you(?:'re| are))|act as (?:if|though|an?|the|my)|role-?play as|assume the (?:role|identity|persona)|you will (?:now )?(?:act|behave|respond|play)|imagine you(?:'re| are))\b(?:\W+[\w']+){0,8}\W+(?:evil|unethical|unrestricted|unfiltered|uncensored|amoral|hacker|criminal|no (?:rules|filters?|limits|restrictions)|an ai|ai model|assistant|DAN|system|admin(?:istrator)?|root|developer|terminal|god)\b"),
    Rule("extraction", 5, rf"\b{_GIVE}\b(?:\W+[\w']+){{0,5}}\W+(?:(?:text|words?|content|sentences?|messages?|lines?|instructions?|prompt|conversation|everything)\W+(?:\w+\W+)?(?:above|before this|preceding|prior to this|that (?:came|comes|appears?) before)|(?:above|previous) (?:text|prompt|instructions?)|everything (?:above|before))"),
    Rule("hides_from_user", 5, r"\b(?:do not|don'?t|never|without)\W+(?:\w+\W+){0,2}(?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?|reveal(?:ing)?|alert(?:ing)?|notify(?:ing)?|ask(?:ing)?|let(?:ting)?|disclos(?:e|ing)|show(?:ing)?)\W+(?:\w+\W+){0,5}(?:users?|humans?|operator)\b|\b(?:keep|hide|conceal)\W+(?:this|it|that|them|these)\W+from\W+(?:the\W+)?(?:users?|humans?)\b"),
    Rule("exfiltration", 4, r"\b(?:send|forward|e-?mail|post|upload|transmit|exfiltrate|leak|submit|append|transfer|share)\b(?:\W+[\w']+){0,12}\W+(?:password|credential|api[ _-]?key|token|secret|conversation|chat history|history|contacts?|inbox|emails?|files?|data|funds|money|documents?|cookies?|\.env|prompt)\w*(?:\W+[\w']+){0,8}\W+(?:to|at|via)\W+(?:https?|\S+@|\w+\.(?:com|net|org|io)|this (?:url|address|server|endpoint))"),
    Rule("exfiltration", 4, r"!\[[^\]\n]{0,80}\]\(https?://[^)\s]{1,200}[?=/][^)\s]*(?:\{|\[|<|\$|DATA|SECRET|HISTORY|BASE64)"),
    Rule("exfiltration", 3, r"\b(?:read|open|cat|load|fetch|copy|get|lee|lis|lisez|lies|leggi|leia)\b[^\n.]{0,60}(?:~/?\.\w+|\.ssh\b|\bid_(?:rsa|ed25519)\b|/etc/(?:passwd|shadow)|\.env\b|\.aws\b|\.netrc\b|mcp\.json)[^\n]{0,80}\b(?:pass|put|send|post|upload|append|include|content|into|as|in the|p[aá]sa\w*|env[ií]a\w*|envoie\w*|übergib|sende)\b"),
    Rule("addresses_model", 3, r"\b(?:(?:attention|important|urgent|note|message|instructions?|hey|hello|dear)\b\W+(?:\w+\W+){0,3}(?:ai|llm|language model|assistant|chatbot|gpt|claude|gemini|copilot|agent|bot)s?\b|(?:if you are|as) an? (?:ai|llm|language model|assistant|agent)\b(?:\W+\w+){0,4}\W+(?:must|should|need|please|reading|processing|summari[sz]ing|have to|are required))"),
    Rule("demands_action", 2, r"\b(?:you must|immediately|must now|required to|please)\W+(?:\w+\W+){0,3}(?:call|invoke|execute|run|use)\W+(?:the\W+|this\W+|following\W+|your\W+)*(?:\w+\W+){0,2}(?:tool|function|command|script|code|shell)\b"),
    Rule("claims_authority", 2, r"\b(?:i am|i'm|this is|speaking as|on behalf of)\W+(?:\w+\W+){0,3}(?:(?:your|the) (?:developer|creator|administrator|admin|owner|programmer|operator)|openai|anthropic|google deepmind|system administrator)\b|\b(?:user|admin(?:istrator)?|operator|owner) has (?:already )?(?:authori[sz]ed|approved|consented|granted)"),
    Rule("prefix_forcing", 3, r"\b(?:start|begin|prefix|open)\W+(?:your|the|each|every)\W+(?:\w+\W+)?(?:response|answer|reply|output|message)s?\W+with\b|\b(?:never|do not|don'?t|cannot|can'?t) (?:say|refuse|decline|apologi[sz]e|include (?:any )?(?:warnings?|disclaimers?))\b(?:\W+\w+){0,4}\W*(?:sorry|cannot|can'?t|refus|unable|warnings?|disclaimers?|unethical|illegal|any request)"),
)  # fmt: skip
_TALKS_ABOUT = re2.compile(
    r"(?i)\b(?:prompt[- ]injections?|injection attacks?|jailbreak(?:s|ing)? (?:attacks?|prompts?|techniques?|attempts?|of)|(?:what|how) (?:does|do|is|are|would|can|should)\b[^\n]{0,60}(?:mean|work|detect|prevent|defend|protect|mitigate)|(?:detect|prevent|defend|protect|mitigat|classif|filter|block)\w*\b[^\n]{0,60}(?:inject|jailbreak|attack|prompts?)|(?:article|paper|blog|essay|documentation|lecture|research|security)\b[^\n]{0,40}(?:about|on|of)\b|red[- ]team)"
)
_OF_A_PAGE = re.compile(
    r"\s+(?:(?:line|row|column|page|step|level)\s+)?[$€]?\d|\s+(?:the|an?|its?|in the)\s+(?!(?:user|prompt|line|message|text|conversation)\b)"
)
_OF_A_DEVICE = re.compile(
    r"\W+(?:on|in|for|of)\W+(?:(?:my|the|an?|your|our)\W+)?(?:\w+\W+){0,2}(?:android|phone|pixel|galaxy|tablet|tv|chromebook|laptop|browser|chrome|firefox|app|ide|editor|firmware|router|windows|xbox|steam|roblox|minecraft|game|oculus|quest|headset|device|stick|watch|box)\b",
    re.IGNORECASE,
)
_OF_A_THING = re.compile(
    r"\W+(?:apis?|sdks?|apps?|frameworks?|managers?|directors?|coach\w*|professors?|teachers?|nurses?|editors?|settings?|pages?|features?|library|polic(?:y|ies))\b",
    re.IGNORECASE,
)
_GIVES_ORDER = re.compile(
    r"[^\n]*\b(?:you|your|yourself|assistant|must|ignore|disregard|override|overrid\w+|enabled?|disabled?|reveal|print|grant|send|forward|skip|new|execute|call|reply|respond|output|delete|say|answer|admin|unrestricted|rules|instructions?|policy|policies|mode)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“«'‘`][^\"“”«»'’`\n]{8,300}[\"”»'’`]")
_ENCODED = re2.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}|(?:[0-9a-fA-F]{2}[ :]?){16,}")
_MAY_BE_ENCODED = re2.compile(
    r"[A-Za-z0-9+/_-]{24}|(?:[0-9a-fA-F]{2}[ :]?){16}|(?:%[0-9A-Fa-f]{2}){8}|(?:\\u00[0-9A-Fa-f]{2}){8}|(?:&#x?[0-9A-Fa-f]{2,4};){8}"
)
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2}){8,}|(?:\\u00[0-9A-Fa-f]{2}){8,}|(?:&#x?[0-9A-Fa-f]{2,4};){8,}")

_KEYWORDS = ("instructions", "previous", "ignore", "disregard", "guidelines", "system prompt")
_REVERSED = re2.compile("(?i)" + "|".join(word[::-1] for word in _KEYWORDS))
_ROTATED = re2.compile("(?i)" + "|".join(codecs.encode(word, "rot13") for word in _KEYWORDS))
_LEETED = re2.compile(r"(?i)\b[a-z]*[013457@$][a-z]+[013457@$]|\b[a-z]+[013457@$][a-z]")


def _any_case(expression: str) -> str:
    return expression if expression.startswith("(?i)") else "(?i)" + expression


_OF_RULES = tuple(dict.fromkeys(_any_case(rule.expression) for rule in RULES))
_OF_THE_REST: tuple[str, ...] = (
    *CONCEPT_TRIGGERS,
    INVISIBLE,
    _MAY_BE_ENCODED.pattern,
    r"(?:\b\w[ .*_-]){5}",
    r"[a-z][\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}][a-z]|[\x{ff21}-\x{ff5a}]|\b\pL*[013457@$]\pL+[013457@$]\pL|[\x{1d400}-\x{1d7ff}\x{24b6}-\x{24e9}\x{1f130}-\x{1f189}]",
    f"{_REVERSED.pattern}|{_ROTATED.pattern}",
)
TRIGGERS: tuple[str, ...] = (*_OF_RULES, *_OF_THE_REST)
"""What occurs in every text that scores."""

_GAP = re.compile(r"\(\?:\\W[+*](?:\[\\w'\]|\\w)\+\)\{0,\d+\}(?:\\W[+*])?|\(\?:(?:\[\\w'\]|\\w)\+\\W\+\)\{0,\d+\}")
WIDE_TRIGGERS: tuple[str, ...] = (*(_GAP.sub(r"[^\\x00]*", trigger) for trigger in _OF_RULES), *_OF_THE_REST)
"""The same with any distance between a rule's words, for the shared matcher: an automaton that counts words has so many states
that a scan waits for memory at every character. No distance goes over the edge of two texts. What these find has to be looked for by `TRIGGERS` again."""


_UNLESS = {
    "extraction": (_OF_A_PAGE, False),
    "jailbreak": (_OF_A_DEVICE, False),
    "imposed_role": (_GIVES_ORDER, True),
    "addresses_model": (_OF_A_THING, False),
}
"""What must stand, or must not, behind a match of a rule for it to count."""
_MARKUP = ("imposed_role", 5)
"""The rule for marks of chat templates, which stand for themselves."""


@cache
def may_order() -> Matcher:
    """Finds the texts that can score: made when the first is looked at."""
    return Matcher([("", TRIGGERS)])


class Rules:
    """The rules, compiled; `score` judges one text."""

    def __init__(self) -> None:
        expressions = [_any_case(rule.expression) for rule in RULES]
        self._set = Matcher([("", expressions)])
        self._unless = {
            place: (re2.compile(each), *_UNLESS[rule.name])
            for place, (each, rule) in enumerate(zip(expressions, RULES, strict=True))
            if rule.name in _UNLESS and (rule.name, rule.weight) != _MARKUP
        }
        self._concepts = Concepts()

    def score(self, text: str, *, from_tool: bool = False) -> tuple[float, list[str]]:
        """The weight of what was found, and the names of the rules, each once."""
        text = text[:TEXT_MAX_CHARS]
        if len(text) >= BLOCKS_FROM_CHARS:
            parts = [part for _, part in parts_near(text, may_order().scan)]
        else:
            parts = [text]
        weights: dict[str, float] = {}
        for place, part in enumerate(parts):
            found = self._found(part, from_tool)
            if found and (said := without_mentions(part)) is not None:
                parts[place] = said
                found = self._found(said, from_tool)
            _add(weights, found)
        if len(parts) == 1:
            text = parts[0]
        total = float(sum(weights.values()))
        if not weights or not _TALKS_ABOUT.search(text):
            return (total * FROM_TOOL if from_tool else total), sorted(weights)
        unquoted: dict[str, float] = {}
        for part in parts:
            bare = _QUOTED.sub(" ", part)
            _add(unquoted, self._weights(bare))
            _add(unquoted, self._concepts.weights(plain(bare), from_tool=from_tool))
        if from_tool:
            # Data that tells of attacks may quote them; what it says outside of quotation marks counts in full.
            return (total * FROM_TOOL if unquoted else total / 2), sorted(weights)
        return min(total, sum(unquoted.values())) / 2, sorted(weights)

    def _found(self, text: str, from_tool: bool) -> dict[str, float]:
        """What a text, or a part of it, tells the model: rule -> weight."""
        read = plain(text)
        weights = self._weights(text) if read != text else {}
        for name, weight in self._weights(read).items():
            weights.setdefault(name, weight + (ENCODED_WEIGHT if read != text else 0))
        _add(weights, self._concepts.weights(read, from_tool=from_tool))
        for disclosed in _readings(text, read):
            inner = self._weights(disclosed)
            _add(inner, self._concepts.weights(disclosed, from_tool=from_tool))
            for name, weight in inner.items():
                if name not in weights:
                    weights["encoded_" + name] = weight + ENCODED_WEIGHT
        return weights

    def _weights(self, text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for hit in self._set.scan(text):
            name, weight, _ = RULES[hit]
            if weight > found.get(name, 0.0) and self._counts(hit, text):
                found[name] = weight
        return found

    def _counts(self, hit: int, text: str) -> bool:
        """Whether a rule's match is one by what stands behind it."""
        if hit not in self._unless:
            return True
        expression, behind, there = self._unless[hit]
        return any(
            (behind.match(text, match.end()) is not None) == there and not TOLD_OF_PEOPLE.search(match.group())
            for match in expression.finditer(text)
        )


def _add(weights: dict[str, float], more: dict[str, float]) -> None:
    for name, weight in more.items():
        weights[name] = max(weights.get(name, 0.0), weight)


def _readings(text: str, read: str) -> Iterator[str]:
    """What else a text in plain form may be read as: signs for letters, backwards, in ROT13, decoded."""
    if _LEETED.search(read):
        yield unleeted(read)
    if _REVERSED.search(read):
        yield read[::-1]
    if _ROTATED.search(read):
        yield codecs.encode(read, "rot13")
    yield from map(plain, _decoded(text))


def _decoded(text: str) -> Iterator[str]:
    """What encoded runs of the text say, where that is text."""
    if not _MAY_BE_ENCODED.search(text):
        return
    count = 0
    for match in _ENCODED.finditer(text):
        run = match.group()[:ENCODED_MAX_CHARS]
        for decode in (_hex, _base64):
            said = decode(run)
            if said:
                yield said
                count += 1
                break
        if count >= DECODED_MAX:
            return
    if _ESCAPED.search(text):
        from html import unescape
        from urllib.parse import unquote

        yield unquote(unescape(re.sub(r"\\u00([0-9A-Fa-f]{2})", lambda match: chr(int(match.group(1), 16)), text)))


def _hex(run: str) -> str:
    try:
        return _readable(bytes.fromhex(run.replace(":", " ")))
    except ValueError:
        return ""


def _base64(run: str) -> str:
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _readable(base64.b64decode(body + "=" * (-len(body) % 4), validate=True))
    except (binascii.Error, ValueError):
        return ""


def _readable(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    printable = sum(character.isprintable() or character.isspace() for character in text)
    return text if text and printable == len(text) else ""
