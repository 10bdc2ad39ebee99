"""The words of a text, and what the forms of a word have in common."""

from __future__ import annotations

import re
from functools import lru_cache

STEM_CHARS = 6
WORD = re.compile(r"[^\W_](?:[\w’'\-]*\w)?|[$€£¥₹]")
LITTLE = frozenset(
    "a an the this that these those its it his her their our your my he she they we you i him them us me one is are was were be been being am has have had do does did "
    "will would can could should shall must may might of in on at to for from by with as and or but nor so than then there here which who whom whose what when where while if "
    "also very just now still already about into over under up down out off per each both such not no s "
    "der die das den dem des ein eine einer einen einem und oder ist sind war waren wird werden im am zu zum zur mit von für auf bei aus nach nicht kein keine es sie er "
    "le la les un une des du de et ou est sont était dans sur pour par avec ne pas il elle ce se el los las una y o es son en con por para del al no lo su "
    "l d n c j m t qu dell nell all dall sull ll re ve".split()
)
_ELIDED = re.compile(r"(?<![\w'’])(l|d|n|s|c|j|m|t|qu|dell|nell|all|dall|sull)['’](?=[^\W\d_]{2})", re.IGNORECASE)
_ENDING = re.compile(r"(?<=\w{3})(?:ings?|edly|ed|ies|es|ly|s|e|en|er)\Z")
_IRREGULAR = {
    form: verb
    for verb, forms in (
        each.split(":")
        for each in (
            "catch:caught;buy:bought;sell:sold;teach:taught;think:thought;bring:brought;build:built;send:sent;spend:spent;lend:lent;lose:lost;leave:left;keep:kept;sleep:slept;feel:felt;deal:dealt;"
            "write:wrote,written;drive:drove,driven;ride:rode,ridden;choose:chose,chosen;speak:spoke,spoken;break:broke,broken;steal:stole,stolen;freeze:froze,frozen;begin:began,begun;"
            "run:ran;swim:swam,swum;sing:sang,sung;drink:drank,drunk;win:won;meet:met;lead:led;feed:fed;read:reads;pay:paid;say:said;lay:laid;make:made;hear:heard;hold:held;"
            "stand:stood;understand:understood;take:took,taken;give:gave,given;eat:ate,eaten;fall:fell,fallen;see:saw,seen;know:knew,known;grow:grew,grown;throw:threw,thrown;draw:drew,drawn;"
            "fly:flew,flown;wear:wore,worn;tear:tore,torn;bear:bore,born;find:found;fight:fought;seek:sought;shoot:shot;sit:sat;get:got,gotten;forget:forgot,forgotten;go:went,gone;come:came;become:became;"
            "child:children;woman:women;man:men;person:people;foot:feet;tooth:teeth;mouse:mice;analysis:analyses;shrink:shrank,shrunk;rise:rose,risen;hide:hid,hidden;bite:bit,bitten;withdraw:withdrew,withdrawn"
        ).split(";")
    )
    for form in forms.split(",")
}


@lru_cache(8192)
def stem(word: str) -> str:
    """A word, without case, by what its forms have in common."""
    word = _IRREGULAR.get(word, word)
    short = _ENDING.sub("", word.replace("’s", "").replace("'s", "").replace("-", ""))
    if len(short) > 3 and short[-1] == short[-2]:  # "shipp" of "shipping"
        short = short[:-1]
    return short[:STEM_CHARS]


def words_of(text: str) -> list[str]:
    """The words of a text as they are written, what is elided ("l'année") by itself."""
    return WORD.findall(_ELIDED.sub(r"\1 ", text) if "'" in text or "’" in text else text)
