"""How far a clause goes: whether it holds for certain or only perhaps, for all or for some, has happened or is still to come."""

from __future__ import annotations

import re
from collections.abc import Iterable

from instance.chute.modules.safety.clause import Clause
from instance.chute.modules.safety.opposed import ONLY

_PERHAPS = frozenset(
    "may might could possibly perhaps potentially likely probably suspect suspects suspected expects expected planned plans hopes aims proposed proposes considering intends want wants prefer prefers rather suggest suggests suggested "
    "vielleicht könnte könnten möglicherweise wahrscheinlich voraussichtlich geplant plant peut-être pourrait pourraient probablement prévoit podría podrían quizás probablemente prevé potrebbe potrebbero forse probabilmente".split()
)
_NOT_SURE = _PERHAPS | frozenset(
    "wanted like likes wish wishes hold postpone asked asks can will would should up possible potential risk warn warns caution cautions expect plan intend thought believed estimated estimates about around if unless soll sollen wird werden kann können "
    "dürfte peut peuvent puede pueden può possono allowed permitted entitled let lets free optional scheduled due set soon".split()
)
_ALL = frozenset(
    "all every everyone everybody always any alle jeder jede jedes immer tous toutes toujours todos todas siempre tutti tutte sempre".split()
)
_ALL_TOO = _ALL | frozenset(
    "each per both no none never nobody neither only pro je chaque par cada por ogni ein jeweils whole entire".split()
)
_LIMITS = frozenset(
    "some first premier première erste ersten primer primera primero prima most many few several half part only over under above below except unless larger smaller more less certain selected older younger between "
    "einige manche viele wenige nur über unter certains quelques plupart moins plus seulement algunos muchos sólo solo menos más alcuni molti meno".split()
)
_MUST = frozenset(
    "must required mandatory obliged obligatory have muss müssen doit doivent deben debe devono deve".split()
)
_MAY = frozenset(
    "may can optional allowed permitted kann können dürfen darf peut peuvent puede pueden può possono".split()
)
_ALREADY = frozenset("already bereits schon déjà ya già since".split()) - {"since"}
_STILL_TO_COME = frozenset(
    "still will yet pending planned plans awaiting awaits noch muss müssen soll sollen wird werden encore doit doivent sera seront aún todavía debe deben será serán ancora deve devono sarà".split()
)
_ONE_OF = re.compile(r"\b(?:one of|eine[rs]? (?:der|von)|une? des|un[oa] de (?:los|las))\b", re.IGNORECASE)
_MUCH, _HALF = 0.75, 0.5
_MOST_OF = re.compile(
    r"\W*(?:(?:most|few|half|two thirds|a third|a quarter)(?: of| \w+s\b)|the majority|die meisten|die hälfte|la mayoría|la mitad|la plupart|la moitié|la maggior|la metà)",
    re.IGNORECASE,
)
_AMOUNTS = re.compile(
    r"%|\b(?:most\w*|majority|few\w*|half|third|quarter|per ?cent|prozent|meisten|hälfte|mayor|mayoría|mitad|plupart|moitié|maggior\w*|metà|all|none|nearly|almost|main(?:ly)?)\b|\d",
    re.IGNORECASE,
)


def counts_unasked(statement: str, clauses: Iterable[Clause]) -> bool:
    """Whether a statement says how many of something ("most testers") of which no clause with one of its words gives an amount."""
    if _MOST_OF.match(statement) is None:
        return False
    clauses = list(clauses)
    words = Clause(statement).heavy
    return not any("%" in each.text or (words & each.words and _AMOUNTS.search(each.text)) for each in clauses)


def goes_too_far(said: Clause, about: Clause) -> str:
    """`negation` or `name` where a clause says for certain, for all or as done what the one that it is about does not; else empty."""
    if not said.heavy:
        return ""
    shared = len(said.heavy & about.words) / len(said.heavy)
    one, other = set(said.tokens), set(about.tokens)
    if shared >= _HALF:
        if one & _ALL and not other & _ALL_TOO and (other & _LIMITS or _ONE_OF.search(about.text)):
            return "negation"
        if one & _ALREADY and other & _STILL_TO_COME and not other & _ALREADY:
            return "negation"
        if other & ONLY and not one & ONLY and (said.capitals & about.capitals) and said.capitals - set(about.tokens):
            return "name"
    if shared >= _MUCH:
        if other & _PERHAPS and not one & _NOT_SURE and not said.negates and not about.negates:
            return "negation"
        if one & (_MUST - {"have"}) and not other & _MUST and other & _MAY:
            return "negation"
    return ""
