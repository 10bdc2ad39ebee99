"""maskmode: answers show fakes, the same for the same original, in the original's shape."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from instance.chute.modules.core.fake_identities import Fakes
from instance.chute.modules.safety.check_digits import iban, is_card
from tests.mock_replies import chunks, text, tool
from tests.modules.conftest import Running, running

HOPPER = "Call Grace Hopper at grace@navy.mil, 212-736-5000"
REAL = ("Grace", "Hopper", "grace@navy.mil", "navy", "212-736-5000", "736-5000")


async def said(s: Running, answer: str, stream: bool, **more: Any) -> str:
    pieces = [answer[at : at + 5] for at in range(0, len(answer), 5)]
    s.mock.script(chunks(pieces) if stream else text(answer))
    made = await s.sdk().chat.completions.create(**s.body("hi", **more), stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_has_none_of_the_originals_and_twice_the_same_fakes(stream: bool) -> None:
    async with running({"maskmode": {}}) as s:
        first, second = await said(s, HOPPER, stream), await said(s, HOPPER, not stream)
        assert first == second
        assert not [real for real in REAL if real in first]
        assert re.fullmatch(
            r"Call [A-Z][a-z]+ [A-Z][a-z]+ at [a-z.]+\d\d@example\.(com|org|net), \d{3}-555-01\d\d", first
        )
        (trace, _) = await s.recent_traces(2)
        assert sorted(d["kind"] for _, d in await s.trail(trace["id"], "maskmode")) == ["email", "name", "phone"]


async def test_an_answer_that_was_cut_since_it_was_looked_at_is_masked_too() -> None:
    cut = {"voicebridge": {"max_chars": 60, "add_note": False}, "secretscan": {}, "maskmode": {}}
    async with running(cut) as s:
        shown = await said(s, f"{HOPPER}. The rest of this answer is over the limit, and so it is left out.", False)
        assert shown.startswith("Call ") and len(shown) < 90
        assert not [real for real in REAL if real in shown]
        kept = "The yard opens at nine and closes late. Then call Grace Hopper at 212-736-5000 for more of it."
        assert await said(s, kept, False) == "The yard opens at nine and closes late."


@pytest.mark.parametrize("stream", [False, True])
async def test_places_and_products_stay(stream: bool) -> None:
    kept = "New York and Visual Studio are fine. Victoria Station, too; 12 of 4096 tests ran on 2024-01-15."
    async with running({"maskmode": {}}) as s:
        assert await said(s, kept, stream) == kept


@pytest.mark.parametrize("stream", [False, True])
async def test_json_still_parses_and_keeps_its_fields(stream: bool) -> None:
    data = {"name": "Zed Quux", "mail": "z@corp.io", "card": "4556 7375 8689 9855", "n": [1, 2]}
    async with running({"maskmode": {"names": ["Zed Quux"]}}) as s:
        shown = orjson.loads(await said(s, orjson.dumps(data).decode(), stream))
        assert shown.keys() == data.keys()
        assert shown["n"] == [1, 2]
        assert shown["name"] != "Zed Quux"
        assert shown["mail"].rpartition("@")[2].startswith("example.")
        assert shown["card"].startswith("4111 11")
        assert is_card(shown["card"].replace(" ", ""))


async def test_names_of_the_requests_own_fields_are_known() -> None:
    async with running({"maskmode": {}}) as s:
        s.mock.script(text("Then Xandra Qorvo paid."))
        made = await s.sdk().chat.completions.create(**s.body('{"customer_name": "Xandra Qorvo", "id": 7}'))
        assert "Qorvo" not in (made.choices[0].message.content or "")


async def test_companies_amounts_and_exempt_values() -> None:
    settings = {"companies": ["Initech"], "amounts": True, "exempt": [r".*@ok\.io"], "secret": "s3cr3t-of-mask"}
    async with running({"maskmode": settings}) as s:
        shown = await said(s, "Initech owes $1,200.50 and $2,401.00; ask a@ok.io.", False)
        assert "Initech" not in shown
        assert "a@ok.io" in shown
        one, two = (float(each.replace(",", "")) for each in re.findall(r"\$([\d,]+\.\d\d)", shown))
        assert one != 1200.5
        assert two / one == pytest.approx(2, abs=0.001)


async def test_both_hides_originals_from_the_provider_and_gives_them_to_tools() -> None:
    async with running({"maskmode": {"scope": "both"}}) as s:
        await s.chat(HOPPER)
        masked = s.mock.calls[0].json()["messages"][0]["content"]
        assert not [real for real in REAL if real in masked]
        mail = re.search(r"\S+@example\.\w+", masked)
        assert mail is not None
        address = mail.group().rstrip(",")
        for stream in (False, True):
            s.mock.script(tool("send", {"to": address}))
            made = await s.sdk().chat.completions.create(**s.body(HOPPER), stream=stream)
            if stream:
                parts = [
                    c.choices[0].delta.tool_calls async for c in made if c.choices and c.choices[0].delta.tool_calls
                ]
                arguments = "".join(part[0].function.arguments or "" for part in parts)
            else:
                arguments = made.choices[0].message.tool_calls[0].function.arguments
            assert orjson.loads(arguments) == {"to": "grace@navy.mil"}
        # The fakes that come back in the conversation are not faked again.
        assert await said(s, masked, False) == masked


async def test_the_fakes_of_a_secret_are_those_of_another_start() -> None:
    one, two = Fakes(b"a"), Fakes(b"a")
    assert one.of("name", "Grace Hopper") == two.of("name", "Grace Hopper")
    assert {Fakes(bytes([n])).of("name", "Grace Hopper") for n in range(20)} != {one.of("name", "Grace Hopper")}
    assert one.of("name", "Grace Hopper").split()[1] == one.of("name", "Hopper")


def test_fakes_keep_the_shape_and_pass_no_check_but_of_test_numbers() -> None:
    fakes = Fakes(b"a")
    account = fakes.of("iban", "DE89 3704 0044 0532 0130 00")
    assert re.fullmatch(r"DE00 \d{4} \d{4} \d{4} \d{4} \d\d", account)
    assert not iban(account.replace(" ", ""))
    assert re.fullmatch(r"\+44 \d\d? ?\d+ .*", fakes.of("phone", "+44 20 7946 0958"))
    assert fakes.of("phone", "+44 20 7946 0958") != "+44 20 7946 0958"


async def test_the_console_scope_leaves_calls_alone() -> None:
    async with running({"maskmode": {"scope": "console"}}) as s:
        assert await said(s, HOPPER, False) == HOPPER
        assert "Hopper" not in s.module("maskmode").mask(HOPPER)


async def test_the_secret_that_was_made_is_kept() -> None:
    async with running({"maskmode": {}}) as s:
        first = await said(s, HOPPER, False)
        await s.configure({"maskmode": False})
        await s.configure({"maskmode": {"kinds": ["name", "email", "phone"]}})
        assert await said(s, HOPPER, False) == first
