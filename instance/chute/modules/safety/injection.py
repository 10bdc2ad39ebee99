"""Scores how much a text tries to give the model orders that are not its author's to give."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

import re2

from instance.chute.modules.safety.plain_form import INVISIBLE, plain

TEXT_MAX_CHARS = 200_000
"""What of one text is looked at."""
DECODED_MAX = 8
"""Encoded payloads of one text that are decoded."""
ENCODED_WEIGHT = 3
"""An order that was hidden by an encoding weighs so much more."""
FROM_TOOL = 2.0
"""Orders in tool results and passages: data has none to give."""

_VERB = (
    r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|bypass(?:ing)?|overrid(?:e|ing)|neglect|discard|abandon|dismiss|void|erase|"
    r"(?:drop|delete|clear|skip)(?:\W+all)?(?:\W+of)?\W+your|suspend|set aside|pay no (?:attention|heed) to|do(?: not|n'?t) (?:follow|obey|listen to|adhere to|comply with)|"
    r"stop (?:following|obeying)|disobey|no longer (?:follow|obey)|break free (?:from|of)|violate|supersede|replace)"
)
_WHOSE = (
    r"(?:all|any|every(?:thing)?|each|the|your|my|our|their|of|these|those|its|previous|prior|earlier|preceding|above|former|foregoing|existing|original|initial|"
    r"current|past|old|other|system|developer|safety|content|ethical|moral|hidden|internal|given|default|built-in|existing|and|or|previously|been|that|has|have|what(?:ever)?|you(?:'ve| have| were)?|i|told|said)"
)
_STRONG = (
    r"(?:all|any|every|each|your|previous(?:ly)?|prior|earlier|preceding|above|former|foregoing|original|initial|past|system|developer|safety|"
    r"content|ethical|moral|hidden|internal|given|built-in|told|you)"
)
_ORDERS = (
    r"(?:instructions?|instructed|prompts?|rules?|guidelines?|directions?|directives?|commands?|constraints?|orders?|programming|polic(?:y|ies)|"
    r"restrictions?|filters?|guardrails?|safeguards?|protocols?|training|limitations?|system messages?|guidance|boundaries)"
)
_SHOW = (
    r"(?:reveal|show|print|repeat|output|display|tell (?:me|us)|give (?:me|us)|share|leak|dump|expose|disclose|list|write (?:out|down)|reproduce|recite|copy|"
    r"paste|return|summari[sz]e|translate|encode|what(?:'s| is| are| was| were)|describe|state|quote|spell out|echo|provide|read (?:out|back)|type)"
)
_GIVE = (
    r"(?:reveal|show|print|repeat|output|display|tell (?:me|us)|give (?:me|us)|leak|dump|expose|disclose|write (?:out|down)|reproduce|recite|copy|paste|"
    r"return|quote|spell out|echo)"
)


class Rule(NamedTuple):
    name: str
    weight: int
    expression: str


RULES: tuple[Rule, ...] = (
    Rule("override", 5, rf"\b{_VERB}(?:\W+{_WHOSE}){{0,4}}\W+{_STRONG}(?:\W+{_WHOSE}){{0,4}}\W+{_ORDERS}\b"),
    Rule("override", 5, rf"\b{_VERB}(?:\W+\w+){{0,3}}\W+(?:everything|anything|all|what(?:ever)?)\W+(?:\w+\W+){{0,3}}(?:above|before|previously|earlier|prior|so far|you (?:were|have been) (?:told|taught|given|instructed))"),
    Rule("override", 5, r"\b(?:instructions?|rules?|prompts?|guidelines?|restrictions?|safety (?:filters?|checks?))\W+(?:\w+\W+){0,3}(?:(?:is|are|was|were|been|be)\W+(?:\w+\W+)?(?:void|null|cancell?ed|obsolete|overridden|superseded|lifted|disabled|suspended|replaced|revoked|ignored|no longer)|(?:no longer|do not|don'?t) appl(?:y|ies))"),
    Rule("override", 5, r"(?i)\b(?:ignorier|vergiss|missachte|ignora|ignorez|ignore[sz]?|oublie[sz]?|olvida|desobede|esqueça|dimentica|negeer|vergeet|zignoruj|zapomnij)\pL*(?:\W+\pL+){0,6}\W+(?:anweisung|instrucci|instruc|instruction|istruzion|consigne|regel|règle|regla|regra|regole|vorgabe|directiv|orden|ordini|instructie|instrukcj)"),
    Rule("override", 5, r"(?:игнорируй|забудь|не следуй|отмени)\pL*(?:\W+\pL+){0,6}\W+(?:инструкци|указани|правил|команд)"),
    Rule("override", 5, r"(?:忽略|无视|忘记|無視|忘れ)[^\n]{0,20}(?:指令|指示|说明|规则|提示|命令)|(?:指令|指示|命令|ルール)[^\n]{0,6}(?:忽略|无视|無視|忘れ)"),
    Rule("new_orders", 3, r"\b(?:(?:your |the |here are (?:your )?)?(?:new|updated|real|actual|true|revised|additional)\W+(?:\w+\W+)?(?:instructions?|task|goal|objective|directives?|orders?|rules)\W*(?::|are|is|follow)|from (?:now on|this (?:point|moment))\W+(?:\w+\W+){0,3}you\b|instead[, ]+(?:you (?:must|will|should)|just|only|simply)?\W*(?:say|output|respond|reply|print|write|answer|reveal)\b)"),
    Rule("imposed_role", 5, r"<\|?(?:im_start|im_end|system|endoftext|start_header_id|end_of_turn|start_of_turn)\|?>|\[/?INST\]|<</?SYS>>|</?(?:system|instructions?|system[_-]prompt)>|(?m)^\W{0,4}(?:begin|end)\W+(?:of\W+)?(?:system|user|admin)\W+(?:prompt|input|instructions?|message)"),
    Rule("imposed_role", 4, r"(?m)^[ \t>*#\[(-]{0,6}(?:system|developer|admin(?:istrator)?|root)(?: (?:message|prompt|override|notice|instructions?|update|command))?[\])* \t]{0,4}:[ \t]*\S|\b(?:system|admin|developer|security) (?:override|update|notice)\b\W*:?|#{2,}[ \t]*(?:system|developer|admin|new instructions?)\b[ \t]*:"),
    Rule("jailbreak", 5, r"\bdo anything now\b|\bDAN\b(?:\W+(?:mode|prompt|\d))?|\bjailbr(?:eak|oken)\w*\b|\b(?:developer|god|debug|unrestricted|unfiltered|evil|sudo|admin|maintenance|opposite|chaos) ?mode\b(?:\W+(?:is|now|has|been)){0,3}\W+(?:enabled|activated|engaged|unlocked)|\b(?:enter|enable|activate|switch (?:in)?to|engage|you are (?:now )?in|simulate)\b(?:\W+\w+){0,3}\W+(?:developer|god|debug|unrestricted|unfiltered|evil|sudo|admin|maintenance|DAN|jailbreak) ?mode"),
    Rule("jailbreak", 5, r"\b(?:you|ai|assistant|chatbot|model|character|persona|it|that|who|answer|respond|reply|act|behave|pretend|imagine)\b(?:\W+[\w']+){0,14}\W+(?:without|with no|has no|have no|had no|free (?:of|from)|no longer (?:bound|restricted|limited|constrained)|not (?:bound|restricted|limited|constrained)|isn'?t bound|aren'?t bound|unbound|unconstrained|unrestricted|uncensored|unfiltered)(?:\W+[\w']+){0,4}\W+(?:restrictions?|rules?|filters?|limit(?:s|ations?)?|guidelines?|ethic\w*|moral\w*|censorship|safety|polic(?:y|ies)|constraints?|ai|responses?|answers?|assistant|model|chatbot|guardrails?|boundaries)"),
    Rule("persona", 3, r"\b(?:you are (?:now|no longer)|pretend (?:to be|that you|you(?:'re| are))|act as (?:if|though|an?|the|my)|role-?play as|assume the (?:role|identity|persona)|you will (?:now )?(?:act|behave|respond|play)|imagine you(?:'re| are))\b(?:\W+[\w']+){0,8}\W+(?:evil|unethical|unrestricted|unfiltered|uncensored|amoral|hacker|criminal|no (?:rules|filters?|limits|restrictions)|an ai|ai model|assistant|DAN|system|admin(?:istrator)?|root|developer|terminal|god)\b"),
    Rule("extraction", 5, rf"\b{_SHOW}\b(?:\W+[\w']+){{0,6}}\W+(?:(?:system|initial|original|hidden|secret|internal|developer|starting|first|full|base|underlying|pre|confidential|exact|entire|complete|above|configuration)\W+(?:\w+\W+)?(?:prompts?|instructions?|messages?|guidelines?|rules|directives?|configuration|context)|your (?:system )?(?:prompt|instructions|guidelines|rules|directives|programming|configuration))"),
    Rule("extraction", 5, rf"\b{_GIVE}\b(?:\W+[\w']+){{0,5}}\W+(?:(?:text|words?|content|sentences?|messages?|lines?|instructions?|prompt|conversation|everything)\W+(?:\w+\W+)?(?:above|before this|preceding|prior to this|that (?:came|comes|appears?) before)|(?:above|previous) (?:text|prompt|instructions?)|everything (?:above|before))"),
    Rule("extraction", 5, r"(?i)\b(?:zeig|verrate|nenne|wiederhol|gib|montre|révèle|affiche|répète|muestra|revela|repite|dime|mostra|ripeti|rivela|mostre|revele|toon|покажи)\pL*(?:\W+\pL+){0,6}\W+(?:system-?prompt|systemanweisung|prompt (?:du |de |del |di |do )?(?:système|sistema)|(?:deine|votre|tes|vos|tus|tue|suas|je) (?:\pL+ )?(?:anweisung|instruc|istruzion|instructie)|системн)"),
    Rule("hides_from_user", 5, r"\b(?:do not|don'?t|never|without)\W+(?:\w+\W+){0,2}(?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?|reveal(?:ing)?|alert(?:ing)?|notify(?:ing)?|ask(?:ing)?|let(?:ting)?|disclos(?:e|ing)|show(?:ing)?)\W+(?:\w+\W+){0,5}(?:user|human|customer|anyone|operator|person)\b"),
    Rule("exfiltration", 4, r"\b(?:send|forward|e-?mail|post|upload|transmit|exfiltrate|leak|submit|append|transfer|share)\b(?:\W+[\w']+){0,12}\W+(?:password|credential|api[ _-]?key|token|secret|conversation|chat history|history|contacts?|inbox|emails?|files?|data|funds|money|documents?|cookies?|\.env|prompt)\w*(?:\W+[\w']+){0,8}\W+(?:to|at|via)\W+(?:https?|\S+@|\w+\.(?:com|net|org|io)|this (?:url|address|server|endpoint))"),
    Rule("exfiltration", 4, r"!\[[^\]\n]{0,80}\]\(https?://[^)\s]{1,200}[?=/][^)\s]*(?:\{|\[|<|\$|DATA|SECRET|HISTORY|BASE64)"),
    Rule("addresses_model", 3, r"\b(?:(?:attention|important|urgent|note|message|instructions?|hey|hello|dear)\b\W+(?:\w+\W+){0,3}(?:ai|llm|language model|assistant|chatbot|gpt|claude|gemini|copilot|agent|bot)s?\b|(?:if you are|as) an? (?:ai|llm|language model|assistant|agent)\b(?:\W+\w+){0,4}\W+(?:must|should|need|please|reading|processing|summari[sz]ing|have to|are required))"),
    Rule("demands_action", 3, r"\b(?:you must|immediately|must now|required to|please)\W+(?:\w+\W+){0,3}(?:call|invoke|execute|run|use)\W+(?:the\W+|this\W+|following\W+|your\W+)*(?:\w+\W+){0,2}(?:tool|function|command|script|code|shell)\b"),
    Rule("claims_authority", 2, r"\b(?:i am|i'm|this is|speaking as|on behalf of)\W+(?:\w+\W+){0,3}(?:(?:your|the) (?:developer|creator|administrator|admin|owner|programmer|operator)|openai|anthropic|google deepmind|system administrator)\b|\b(?:user|admin(?:istrator)?|operator|owner) has (?:already )?(?:authori[sz]ed|approved|consented|granted)"),
    Rule("prefix_forcing", 3, r"\b(?:start|begin|prefix|open)\W+(?:your|the|each|every)\W+(?:\w+\W+)?(?:response|answer|reply|output|message)s?\W+with\b|\b(?:never|do not|don'?t|cannot|can'?t) (?:say|refuse|decline|apologi[sz]e|include (?:any )?(?:warnings?|disclaimers?))\b(?:\W+\w+){0,4}\W*(?:sorry|cannot|can'?t|refus|unable|warnings?|disclaimers?|unethical|illegal|any request)"),
)  # fmt: skip
_TALKS_ABOUT = re2.compile(
    r"(?i)\b(?:prompt[- ]injections?|injection attacks?|jailbreak(?:s|ing)? (?:attacks?|prompts?|techniques?|attempts?|of)|(?:what|how) (?:does|do|is|are|would|can|should)\b[^\n]{0,60}(?:mean|work|detect|prevent|defend|protect|mitigate)|(?:detect|prevent|defend|protect|mitigat|classif|filter|block)\w*\b[^\n]{0,60}(?:inject|jailbreak|attack|prompts?)|(?:article|paper|blog|essay|documentation|lecture|research|security)\b[^\n]{0,40}(?:about|on|of)\b|red[- ]team)"
)
_QUOTED = re.compile(r"[\"“«'‘`][^\"“”«»'’`\n]{8,300}[\"”»'’`]")
_ENCODED = re.compile(r"(?<![\w+/])(?:[A-Za-z0-9+/_-]{20,8000}={0,2}|(?:[0-9a-fA-F]{2}[ :]?){16,4000})(?![\w+/])")
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2}){8,}|(?:\\u00[0-9A-Fa-f]{2}){8,}|(?:&#x?[0-9A-Fa-f]{2,4};){8,}")

TRIGGERS: tuple[str, ...] = (
    *dict.fromkeys(
        rule.expression if rule.expression.startswith("(?i)") else "(?i)" + rule.expression for rule in RULES
    ),
    INVISIBLE,
    r"[A-Za-z0-9+/_-]{24}|(?:[0-9a-fA-F]{2}[ :]?){16}|(?:%[0-9A-Fa-f]{2}){8}|(?:\\u00[0-9A-Fa-f]{2}){8}",
    r"(?:\b\w[ .*_-]){5}",
    r"[a-z][\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}][a-z]|[\x{ff21}-\x{ff5a}]|\b\pL+[0-9]\pL+[0-9]",
)
"""What occurs in every text that scores; for the shared matcher."""


class Rules:
    """The rules, compiled; `score` judges one text."""

    def __init__(self) -> None:
        self._rules = [
            (rule.name, rule.weight, re2.compile(rule.expression if rule.expression.startswith("(?i)") else "(?i)" + rule.expression))
            for rule in RULES
        ]  # fmt: skip

    def score(self, text: str, *, from_tool: bool = False) -> tuple[float, list[str]]:
        """The weight of what was found, and the names of the rules, each once."""
        text = text[:TEXT_MAX_CHARS]
        weights = self._weights(text)
        read = plain(text)
        if read != text:
            for name, weight in self._weights(read).items():
                if name not in weights:
                    weights[name] = weight + ENCODED_WEIGHT
        for decoded in _decoded(text):
            for name, weight in self._weights(plain(decoded)).items():
                weights["encoded_" + name] = weight + ENCODED_WEIGHT
        total = float(sum(weights.values()))
        if weights and not from_tool and _TALKS_ABOUT.search(text):
            unquoted = self._weights(_QUOTED.sub(" ", text))
            total = min(total / 2, sum(unquoted.values()) / 2)
        return (total * FROM_TOOL if from_tool else total), sorted(weights)

    def _weights(self, text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, weight, expression in self._rules:
            if found.get(name, 0) < weight and expression.search(text):
                found[name] = weight
        return found


def _decoded(text: str) -> Iterator[str]:
    """What encoded runs of the text say, where that is text."""
    count = 0
    for match in _ENCODED.finditer(text):
        run = match.group()
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
