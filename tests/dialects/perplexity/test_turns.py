"""Any history keeps Perplexity's rule of turns, and loses no text."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.perplexity.turns import in_turns

MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
        "content": st.text("ab", min_size=1, max_size=3),
    }
)


@given(st.lists(MESSAGE, min_size=1, max_size=8))
def test_system_first_then_user_and_assistant_in_turn_and_the_user_last(messages: list[dict[str, Any]]) -> None:
    turns = in_turns(messages)
    roles = [turn["role"] for turn in turns]
    rest = roles[1:] if roles[0] == "system" else roles
    assert rest[-1] == "user" and rest == ["user", "assistant"] * (len(rest) // 2) + ["user"]
    said = "".join(turn["content"] for turn in turns)
    assert all(said.count(letter) >= sum(m["content"].count(letter) for m in messages) for letter in "ab")


def test_what_keeps_the_rule_is_the_same_list() -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    assert in_turns(messages) is messages


def test_images_are_kept_when_turns_are_joined() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}
    turns = in_turns([{"role": "user", "content": "a"}, {"role": "user", "content": [image]}])
    assert turns == [{"role": "user", "content": [{"type": "text", "text": "a"}, image]}]
