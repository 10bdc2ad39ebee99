"""promptslim: shorter prompts that ask the same."""

from typing import Any

import pytest

from instance.chute.modules.transform.promptslim import PromptSlim
from instance.chute.tokens import count_tokens
from tests.modules.exchanges import exchange, trail

FENCE = "```python\ndef f(x):\n    if  x:\n\n\n\n        return  1   \n```"
PARAGRAPH = "The parser reads one record after the other and keeps nothing of what it read."


def slimmed(messages: list[dict[str, Any]], **settings: Any) -> tuple[Any, list[Any]]:
    x = exchange()
    x.req = {"model": "m", "messages": messages}
    x.current_module = "promptslim"
    PromptSlim(PromptSlim.Settings.model_validate(settings)).on_request(x)
    return x, [message.get("content") for message in x.req["messages"]]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_blank_lines_and_repeats_go_and_the_fence_stays_byte_for_byte() -> None:
    text = f"Look at this:\n\n\n\n{PARAGRAPH}\n\n\n\n{FENCE}\n\n\n\n{PARAGRAPH}\n\n\n\nWhat   is wrong?   \n"
    x, (out,) = slimmed([user(text)])
    assert x.changed
    assert FENCE in out
    assert out.count(PARAGRAPH) == 1
    assert out.replace(FENCE, "FENCE") == f"Look at this:\n\n{PARAGRAPH}\n\nFENCE\n\nWhat is wrong?"
    assert count_tokens(out) <= 0.8 * count_tokens(text)
    ((action, detail),) = trail(x, "promptslim")
    assert action == "slim"
    assert detail["before_tokens"] - detail["after_tokens"] == detail["saved_tokens"] >= 20


@pytest.mark.parametrize("parts", [False, True])
def test_the_tags_go_even_where_too_little_is_saved_for_more(parts: bool) -> None:
    text, other = "Say  <keep>a   b</keep> now.", "<!-- note --> `<keep>` is a  tag"
    content = [{"type": "text", "text": text}] if parts else text
    x, (out, left) = slimmed([{"role": "user", "content": content}, user(other)])
    assert (out[0]["text"] if parts else out) == "Say  a   b now."
    assert left == other
    assert x.changed
    assert trail(x, "promptslim") == []


@pytest.mark.parametrize("count", [1, 30])
def test_a_text_that_comes_again_becomes_the_same_at_each_level(count: int) -> None:
    text = f"In order to understand this:\n\n\n\n{'   '.join(PARAGRAPH.split())}\n\n\n\nmore  words\n" * count
    module = PromptSlim(PromptSlim.Settings(level=2, min_saving_tokens=0))
    made = []
    for _ in range(2):
        x = exchange()
        x.req = {"model": "m", "messages": [{"role": "system", "content": text}, user(text)]}
        module.on_request(x)
        made.append([message["content"] for message in x.req["messages"]])
    assert made[0] == made[1]
    assert made[0][0].startswith("To understand") and made[0][1].startswith("In order to")


def test_a_short_prompt_arrives_unchanged() -> None:
    x, out = slimmed([user("Say   hi,\n\n\n\nplease   now.")])
    assert not x.changed
    assert out == ["Say   hi,\n\n\n\nplease   now."]
    assert x.decisions == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a  b\tc   d", "a b\tc d"),
        ("line   \nnext\t\n\n\n\nend", "line\nnext\n\nend"),
        ("    indented stays\n  - list", "    indented stays\n  - list"),
        ('he said "two  spaces"  and left', 'he said "two  spaces" and left'),
        ("a<!-- gone\nover lines -->b", "ab"),
        ("zero\u200bwidth\ufeff, family \U0001f468\u200d\U0001f469", "zerowidth, family \U0001f468\u200d\U0001f469"),
        ("x   <keep>a   b</keep>   y   z", "x   a   b   y z"),
        (
            '{\n  "a":  1.50,\n  "text  t": "b  \\" c",\n  "list": [1,  2]\n}',
            '{"a":1.50,"text  t":"b  \\" c","list":[1,2]}',
        ),
        ("~~~\nkept   as is\n\n\n\n~~~", "~~~\nkept   as is\n\n\n\n~~~"),
        ("```\nnever   closed\n\n\n\n", "```\nnever   closed\n\n\n\n"),
        ("short\n\nshort\n\nshort", "short\n\nshort\n\nshort"),
    ],
)
def test_level_1_loses_nothing_for_a_reader(before: str, after: str) -> None:
    _, (out,) = slimmed([user(before)], min_saving_tokens=0)
    assert out == after


def test_level_2_takes_wordiness_out_but_not_of_the_last_question() -> None:
    wordy = 'Please note that in order to win, keep "in order to" here. Due to the fact that it rains, go.'
    _, out = slimmed([user(wordy), {"role": "assistant", "content": "ok"}, user(wordy)], level=2, min_saving_tokens=0)
    assert out[0] == 'to win, keep "in order to" here. Because it rains, go.'
    assert out[2] == wordy


def test_own_phrases_are_added() -> None:
    _, out = slimmed(
        [user("a very long name is a very long name"), user("q")],
        level=2,
        min_saving_tokens=0,
        phrases={"a very long name": "X"},
    )
    assert out[0] == "X is X"


def test_level_2_narrows_tables() -> None:
    table = "| name      | value   |\n|-----------|---------|\n| a         | 1       |"
    _, out = slimmed([user(table), user("q")], level=2, min_saving_tokens=0)
    assert out[0] == "|name|value|\n|---|---|\n|a|1|"


def test_level_3_keeps_the_asked_share_of_a_long_messages_sentences() -> None:
    sentences = [
        f"The {word} of the machine number {n} is described in chapter {n} of the book."
        for n, word in enumerate("abcdefghij" * 2)
    ]
    text = " ".join(sentences)
    _, out = slimmed([{"role": "system", "content": text}, user("q")], level=3, keep_pct=50)
    kept = [sentence for sentence in sentences if sentence in out[0]]
    assert len(kept) == 10
    _, out = slimmed([{"role": "system", "content": FENCE + "\n" + text}, user("q")], level=3, keep_pct=50)
    assert out[0] == FENCE + "\n" + text


def test_tool_calls_and_results_are_left_alone_unless_listed() -> None:
    wide = "x" + "   y" * 200
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": wide}}]
    messages = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": wide},
    ]
    x, _ = slimmed(messages)
    assert not x.changed
    x, out = slimmed(messages, roles=["tool"])
    assert out[1] == "x" + " y" * 200
    assert x.req["messages"][0]["tool_calls"] == calls


def test_text_parts_are_made_shorter_and_images_are_not_touched() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA  BB"}}
    parts = [{"type": "text", "text": "a" + "  b" * 100}, image]
    x, (out,) = slimmed([{"role": "user", "content": parts}])
    assert out == [{"type": "text", "text": "a" + " b" * 100}, image]
    assert out[1] is image
    assert parts[0]["text"] == "a" + "  b" * 100
    assert x.changed


@pytest.mark.parametrize(
    "unit", ["<keep>", "<!--", "“", '" ', "````\n```\n", " ", "| ", "| x" + " " * 999, "word ", "~~~\n", "{\n\n"]
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    """Work is counted by the size that still ends within the test's own limit: quadratic work would take hours."""
    text = (unit * (300_000 // len(unit)))[:300_000] + "x"
    _, out = slimmed([user(text), user("q")], level=3)
    assert len(out[0]) <= len(text)
