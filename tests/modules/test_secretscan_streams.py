"""secretscan on streamed answers: nothing of a secret goes out, wherever the stream is cut."""

import random
from typing import Any

import orjson
import pytest

from instance.chute.answer import Delta
from instance.chute.modules.safety.secret_scanner import Scanner
from instance.chute.stream import encode_event
from instance.core.errors import StockyardError
from tests.modules.exchanges import exchange, trail
from tests.modules.test_secretscan import AWS, B64, FOUND, GITHUB, JWT, PRIVATE_KEY, call, scan


def delta(part: dict[str, Any], *, index: int = 0, finish: str | None = None) -> Delta:
    obj = {"choices": [{"index": index, "delta": part, "finish_reason": finish}]}
    return Delta(encode_event(obj), obj)


async def through(pieces: list[str], own: frozenset[str] = frozenset(), **settings: Any) -> tuple[list[str], Any]:
    """What the client sees of each piece, the finishing event last."""
    module = await scan(own, **settings)
    x = call(module, "hi")
    x.state["redact"] = module._redact
    seen = []
    for piece in pieces:
        event = delta({"content": piece})
        module.on_delta(x, event)
        seen.append(event.obj["choices"][0]["delta"]["content"])  # type: ignore[index]
    last = delta({}, finish="stop")
    last.final = True
    module.on_delta(x, last)
    seen.append(last.obj["choices"][0]["delta"].get("content", ""))  # type: ignore[index]
    module.on_finish(x)
    return seen, x


async def test_a_key_split_over_three_deltas_is_only_seen_as_a_marker() -> None:
    seen, x = await through(["here: g", "hp_" + GITHUB[4:20], GITHUB[20:], " ok"], action="redact")
    assert "".join(seen) == "here: [SECRET:github_token] ok"
    assert [detail["detector"] for _, detail in trail(x, "secretscan")] == ["github_token"]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("curl -u admin:hT5pLm3xVq8z https://ci.acme.io/", "hT5pLm3xVq8z"),
        ("sshpass -p Wr5!mQx81zT ssh deploy@10.1.1.1", "Wr5!mQx81zT"),
        ("mysql -h db -proot9Kd2mQ shop", "root9Kd2mQ"),
        ("tf: jSccLih3QFU66a.atlasv1.Kd83mQpZ7xWvT2nRy5sLb9HgJ4cEaUi6oPqMkXwDzNfBtVrSyAhG7Kd2mQ9xTz", "jSccLih3QFU66a"),
    ],
)
async def test_a_secret_that_comes_letter_by_letter_shows_no_more_than_its_first(text: str, secret: str) -> None:
    seen, _ = await through(list(text), action="redact")
    shown = "".join(seen)
    assert "[SECRET:" in shown
    assert secret[:3] not in shown


async def test_words_are_not_held_longer_than_they_must() -> None:
    seen, _ = await through(["Hello ", "world, ", "this ", "is ", "fine."], action="redact")
    assert seen == ["Hello ", "world, ", "this ", "is ", "fine.", ""]


@pytest.mark.parametrize("name", sorted(FOUND.keys() - {"azure_client_secret"}))
async def test_no_cut_of_the_stream_lets_a_secret_through(name: str) -> None:
    text = f"Well, the value is {FOUND[name]} and that is all. Also {AWS}\nEnd"
    expected = Scanner().redact(text)
    for seed in range(12):
        rng = random.Random(seed)
        pieces, rest = [], text
        while rest:
            size = rng.randint(1, rng.choice((1, 3, 8, 40)))
            pieces.append(rest[:size])
            rest = rest[size:]
        seen, _ = await through(pieces, action="redact")
        assert "".join(seen) == expected, (seed, pieces)


async def test_a_secret_at_the_very_end_is_redacted() -> None:
    seen, _ = await through(["key ", AWS[:10], AWS[10:]], action="redact")
    assert "".join(seen) == "key [SECRET:aws_access_key]"


async def test_a_token_longer_than_the_hold_is_cut_out_as_a_whole() -> None:
    long = JWT.split(".")[0] + "." + JWT.split(".")[1] + B64 * 8 + "." + B64
    pieces = ["jwt ", *[long[i : i + 7] for i in range(0, len(long), 7)], " done"]
    seen, _ = await through(pieces, action="redact")
    assert "".join(seen) == "jwt [SECRET:jwt] done"


@pytest.mark.parametrize("lines", [5, 100, 150])
async def test_a_private_key_is_held_until_its_end_line(lines: int) -> None:
    long = PRIVATE_KEY.replace("q2+/AAAA", "\n".join([B64] * lines))
    pieces = ["The key: ", *[long[i : i + 11] for i in range(0, len(long), 11)], "\nkeep it safe"]
    seen, _ = await through(pieces, action="redact")
    assert "".join(seen) == "The key: [SECRET:private_key]\nkeep it safe"


async def test_long_words_that_are_no_secret_come_through_complete() -> None:
    word = "x1" * 400
    seen, _ = await through([word[i : i + 9] for i in range(0, len(word), 9)], action="redact")
    assert "".join(seen) == word


async def test_block_ends_the_stream_before_the_secret() -> None:
    module = await scan(action="block")
    x = exchange(stream=True)
    sent = ""
    with pytest.raises(StockyardError) as caught:
        for piece in ("now: ", GITHUB[:9], GITHUB[9:], " tail"):
            event = delta({"content": piece})
            module.on_delta(x, event)
            sent += event.obj["choices"][0]["delta"]["content"]  # type: ignore[index]
    assert caught.value.code == "secret_blocked"
    assert sent == "now: "


async def test_tool_call_arguments_are_redacted_over_deltas_and_stay_json() -> None:
    module = await scan(action="redact")
    x = exchange(stream=True)
    arguments = orjson.dumps({"token": GITHUB, "n": 1}).decode()
    out = ""
    for start in range(0, len(arguments), 6):
        event = delta({"tool_calls": [{"index": 0, "function": {"arguments": arguments[start : start + 6]}}]})
        module.on_delta(x, event)
        out += event.obj["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]  # type: ignore[index]
    last = delta({}, finish="tool_calls")
    last.final = True
    module.on_delta(x, last)
    for made in last.obj["choices"][0]["delta"].get("tool_calls", ()):  # type: ignore[index]
        out += made["function"]["arguments"]
    assert orjson.loads(out) == {"token": "[SECRET:github_token]", "n": 1}


async def test_each_choice_is_held_by_itself() -> None:
    module = await scan(action="redact")
    x = exchange(stream=True)
    out = {0: "", 1: ""}
    events = [
        delta({"content": GITHUB[:10]}, index=0),
        delta({"content": AWS[:10]}, index=1),
        delta({"content": GITHUB[10:]}, index=0),
        delta({}, index=0, finish="stop"),
        delta({"content": AWS[10:]}, index=1),
        delta({}, index=1, finish="stop"),
    ]
    events[-1].final = True
    for event in events:
        module.on_delta(x, event)
        for choice in event.obj["choices"]:  # type: ignore[index]
            out[choice["index"]] += choice["delta"].get("content", "")
    assert out == {0: "[SECRET:github_token]", 1: "[SECRET:aws_access_key]"}


async def test_flag_holds_nothing_back_and_notes_at_the_end() -> None:
    pieces = ["here ", GITHUB[:9], GITHUB[9:], " and pass"]
    seen, x = await through(pieces)
    assert seen == [*pieces, ""]
    assert [detail["detector"] for _, detail in trail(x, "secretscan")] == ["github_token"]
    assert x.state["redacted"] is True


async def test_flag_notes_what_a_stream_held_that_was_left_early() -> None:
    module = await scan()
    x = call(module, "hi")
    module.on_delta(x, delta({"content": f"{AWS} "}))
    module.on_finish(x)
    assert [detail["detector"] for _, detail in trail(x, "secretscan")] == ["aws_access_key"]


OWN = "upstream-key-of-the-tests-1"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, 100])
async def test_own_provider_keys_never_leave_by_a_stream_in_flag_mode(size: int) -> None:
    text = f"ups, I have upstream-keys and {OWN}; bye"
    seen, _ = await through([text[i : i + size] for i in range(0, len(text), size)], frozenset([OWN]))
    out = "".join(seen)
    assert out.startswith("ups, I have upstream-keys and ")
    assert out.endswith("[SECRET:provider_key]; bye")
    assert OWN[3:] not in out
    assert len(out) <= len("ups, I have upstream-keys and [SECRET:provider_key]; bye") + 3


async def test_only_what_begins_like_an_own_key_waits_in_flag_mode() -> None:
    seen, _ = await through(["plain ", "upst", "airs ", "end"], frozenset([OWN]))
    assert seen == ["plain ", "", "upstairs ", "end", ""]
