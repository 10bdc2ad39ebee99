"""What is read without the parser says the same as what the parser reads."""

from __future__ import annotations

import random

import pytest

from instance.chute.modules.transform import speakable
from instance.chute.modules.transform.simple_markdown import parts_of
from instance.chute.modules.transform.speakable import Speech

SPEECH = Speech("(code)")
PLAIN = [
    "word",
    "Two words. And more.",
    "**bold**",
    "**Bold:**",
    "*em*",
    "`a*b`",
    "[link](https://a.b/c_d)",
    "12.",
    "(so)",
]
SIGNS = ["``", "[x]", "[x](/y)", "*", "**", "_", "_u_", " ", "(", "!", ":", ".", "- ", "#", "***", "`", "\u00a0", "\\"]
SIGNS += ["&amp;", "<b>", "~~s~~", "|", "![i](https://a.b)", "**a** b **c**", "*a*b", "a*b*", "**a**b", "(**a**)", "\t"]
SIGNS += ["** a**", "**a **", "***a***", "**a.**", "**a.**b", "*a,*", "=", "---", "[^1]:", '"', "—"]
STARTS = [
    "",
    "",
    "# ",
    "###### ",
    "####### ",
    "- ",
    "* ",
    "+ ",
    "-",
    "1. ",
    "2. ",
    "3) ",
    "> ",
    ">",
    "  ",
    "    ",
    "   - ",
]
STARTS += ["| ", "|---|\n", "=== ", "---", "***", "```", "#", "> - ", "-  ", "1.  ", "- - ", "- # ", "- > "]
CELLS = [" a ", " `b` ", "", "  ", " **c** ", "d *e*", " - "]


def _block(chance: random.Random) -> str:
    if chance.random() < 0.2:
        rows = ["|" + "|".join(chance.choices(CELLS, k=chance.choice((2, 2, 2, 3)))) + "|" for _ in range(4)]
        return "\n".join([rows[0], chance.choice(("|---|---|", "| --- | :-: |", "|--|", "---|---")), *rows[1:]])
    odd = chance.random() < 0.5
    lines = []
    for _ in range(chance.randint(1, 5)):
        words = chance.choices(PLAIN + SIGNS if odd else PLAIN, k=chance.randint(0 if odd else 1, 4))
        lines.append(chance.choice(STARTS if odd else STARTS[:12]) + ("" if odd else " ").join(words))
    return chance.choice(("\n", "\n", "\n\n")).join(lines) + chance.choice(("", "\n", "\n\n"))


@pytest.mark.parametrize("seed", range(10))
def test_what_is_read_without_the_parser_is_what_the_parser_reads(seed: int) -> None:
    chance = random.Random(seed)
    read = 0
    for block in [_block(chance) for _ in range(400)]:
        parts = parts_of(block) if block.strip() else None
        if parts is not None:
            read += 1
            parsed = speakable._blocks(speakable._parser().parse(block), SPEECH)
            assert list(speakable._said(parts, SPEECH)) == list(parsed), block
    assert read > 40


@pytest.mark.parametrize(
    "block",
    [
        "## A heading\n",
        "Text with **strong words**, *others*, `code` and [a link](https://example.com/x).\n",
        "Of these:\n- **One:** first\n- two\n\n- three\n",
        "1. one\n2. two\n",
        "| a | b |\n| --- | :-: |\n| 1 | `2` |\n",
        "> Quoted.\n> More of it.\n",
    ],
)
def test_what_models_write_most_is_read_without_the_parser(block: str) -> None:
    assert parts_of(block) is not None


@pytest.mark.parametrize(
    "block", ["- a\n  - b\n", "a\n===\n", "[x]: /y\n", "    code\n", "- a\nb\n", "***a***\n", "a_b_\n"]
)
def test_what_is_not_sure_is_left_to_the_parser(block: str) -> None:
    assert parts_of(block) is None
