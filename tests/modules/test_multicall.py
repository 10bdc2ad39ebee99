from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import openai
import orjson
import pytest

from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.modules.forge.agreement import cosine, normalised, profile, verdict
from instance.chute.modules.forge.contenders import Contender, ask_all
from instance.chute.modules.forge.multicall import MultiCall
from instance.chute.modules.forge.second_opinion import picked
from tests.mock_replies import Reply, delay, status, text
from tests.mock_upstream import MockUpstream, until
from tests.modules.conftest import Running, running
from tests.modules.exchanges import exchange, target, whole


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("4", " 4.0 "),
        ("Paris.", "paris"),
        ('{"a": 1, "b": [2]}', '```json\n{"b": [2], "a": 1}\n```'),
        ("**Yes**", "yes!"),
    ],
)
def test_equal_values_are_equal_however_they_are_written(one: str, other: str) -> None:
    assert normalised(one) == normalised(other) is not None


def test_the_majority_decides_and_of_equals_the_first() -> None:
    assert tuple(verdict(["4", "4", "5"])) == (0, 2 / 3, "majority")
    assert verdict(["5", "4"]) == (0, 0.5, "majority")


PROSE = [
    "The ship sank in the cold night because the captain did not slow down in the ice field he had been warned of.",
    "The captain had been warned of the ice field, did not slow down in the cold night, and so the ship sank.",
    "Bread needs flour, water, salt and yeast, an oven that is hot enough, and a cook with some patience for it.",
]


def test_of_prose_the_one_that_is_most_like_the_others_stands_for_all() -> None:
    place, agreement, by = verdict(PROSE)
    assert place in (0, 1)
    assert by == "similarity"
    assert 0.1 < agreement < 0.6
    assert cosine(profile(PROSE[0]), profile(PROSE[0])) == pytest.approx(1.0)
    assert cosine(profile(PROSE[0]), profile(PROSE[2])) < 0.2


@pytest.mark.parametrize(
    ("said", "place"),
    [('{"best": "B"}', 1), ("B", 1), ('Well: {"best":"A"}', 0), ("Z", None), ("Answer B is best", None)],
)
def test_the_judges_word_is_read(said: str, place: int | None) -> None:
    assert picked(said, 2) == place


@asynccontextmanager
async def panel(count: int = 3, **route: Any) -> AsyncIterator[tuple[Running, list[MockUpstream]]]:
    """An instance with so many upstreams `m0`, `m1` …, all asked as `multi:panel`; a thousand tokens cost a cent."""
    async with AsyncExitStack() as stack:
        mocks = [await stack.enter_async_context(MockUpstream()) for _ in range(count)]
        config = ""
        for number, mock in enumerate(mocks):
            config += f'[providers.m{number}]\nbase_url = "{mock.url}"\napi_key = "key-{number}-of-the-tests"\nmodels = ["m"]\n'
            config += f'[prices."m{number}/m"]\nin_usd_per_mtok = {10 * (count - number)}\nout_usd_per_mtok = {10 * (count - number)}\n'
        asked = {"name": "panel", "targets": [f"m{number}/m" for number in range(count)], **route}
        settings = {"multicall": {"routes": [asked]}, "retry": False}
        s = await stack.enter_async_context(running(settings, config=config))
        s.model = "multi:panel"
        yield s, mocks


def answers(mocks: Sequence[MockUpstream], *replies: Reply) -> None:
    for mock, reply in zip(mocks, replies, strict=True):
        mock.script(reply)


async def said(s: Running, *, stream: bool, **more: Any) -> tuple[str, Any]:
    """The text, and the headers."""
    raw = await s.sdk().chat.completions.with_raw_response.create(
        model=s.model, messages=[{"role": "user", "content": "hi"}], stream=stream, **more
    )
    parsed: Any = raw.parse()
    if not stream:
        return parsed.choices[0].message.content or "", raw.headers
    words = ""
    async for chunk in parsed:
        if chunk.choices:
            words += chunk.choices[0].delta.content or ""
    return words, raw.headers


async def record(s: Running, headers: Any) -> dict[str, Any]:
    return await s.trace(headers["x-stockyard-trace-id"])


@pytest.mark.parametrize("stream", [False, True])
async def test_the_fastest_answers_and_the_others_are_cancelled(stream: bool) -> None:
    async with panel(2, strategy="fastest") as (s, mocks):
        answers(mocks, delay(30, "slow"), delay(0.05, "fast"))
        words, headers = await said(s, stream=stream)
        assert words == "fast"
        assert headers["x-stockyard-winner"] == headers["x-stockyard-provider"] + "/m" == "m1/m"
        await until(lambda: mocks[0].calls[0].hung_up)
        trace = await record(s, headers)
        assert (trace["provider"], trace["model"], trace["status"]) == ("m1", "m", "ok")
        assert sorted((row["provider"], row["error"]) for row in trace["attempts"]) == [
            ("m0", "cancelled"),
            ("m1", None),
        ]
        trail = await s.trail(trace["id"], "multicall")
        assert [(action, detail.get("target"), detail.get("ok")) for action, detail in trail] == [
            ("asked", "m0/m", False),
            ("asked", "m1/m", True),
            ("winner", "m1/m", None),
        ]
        assert trace["tokens_out"] > 0
        assert trace["cost_usd"] > 0
        assert int(headers["x-stockyard-overhead-us"]) < 50_000


@pytest.mark.parametrize("stream", [False, True])
async def test_the_fastest_acceptable_answer_wins_over_a_faster_error(stream: bool) -> None:
    async with panel(3, strategy="fastest") as (s, mocks):
        answers(mocks, status(500), delay(0.05, "good"), delay(30, "slow"))
        words, headers = await said(s, stream=stream)
        assert words == "good"
        assert headers["x-stockyard-winner"] == "m1/m"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_most_say_is_delivered_and_all_are_paid_for(stream: bool) -> None:
    async with panel(strategy="consensus") as (s, mocks):
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        answers(mocks, text("4", usage=usage), text("4", usage=usage), text("5", usage=usage))
        words, headers = await said(s, stream=stream)
        assert words == "4"
        trace = await record(s, headers)
        winner = (await s.trail(trace["id"], "multicall"))[-1]
        assert winner[0] == "winner"
        assert (winner[1]["agreement"], winner[1]["target"]) == (0.67, "m0/m")
        assert trace["cost_usd"] == pytest.approx(110 * (30 + 20 + 10) / 1e6)
        asked = [detail["cost_usd"] for action, detail in await s.trail(trace["id"], "multicall") if action == "asked"]
        assert asked == pytest.approx([110 * price / 1e6 for price in (30, 20, 10)])
        assert trace["attempts_count"] == 3


async def test_no_consensus_is_refused_where_asked_for_and_still_paid() -> None:
    async with panel(strategy="consensus", on_disagree="reject") as (s, mocks):
        answers(mocks, text("4"), text("5"), text("6"))
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            await said(s, stream=False)
        assert caught.value.code == "no_consensus"
        trace = await record(s, caught.value.response.headers)
        assert trace["cost_usd"] > 0
        assert caught.value.response.headers["x-stockyard-module"] == "multicall"


async def test_prose_is_compared_by_its_words_and_flagged() -> None:
    async with panel(strategy="consensus", min_agreement=0.9, similarity="lexical") as (s, mocks):
        answers(mocks, *map(text, PROSE))
        words, headers = await said(s, stream=False)
        assert words in PROSE[:2]
        winner = (await s.trail(headers["x-stockyard-trace-id"], "multicall"))[-1][1]
        assert (winner["similarity"], winner["disagree"]) == ("lexical", True)


@pytest.mark.parametrize("stream", [False, True])
async def test_prose_is_compared_by_its_meaning_where_that_can_be_had(stream: bool) -> None:
    pytest.importorskip("onnxruntime")
    same = [
        "The capital of France is Paris, and it has been so for centuries; the government sits there as well, by the river.",
        "Paris, where the ministries stand on the banks of the Seine, has served as the French capital for hundreds of years.",
    ]
    other = "To bake bread one needs flour, water, salt and yeast, a hot oven, and quite a lot of patience while the dough rises."
    async with panel(strategy="consensus", on_disagree="deliver") as (s, mocks):
        answers(mocks, text(other), *map(text, same))
        words, headers = await said(s, stream=stream)
        assert words in same
        winner = (await s.trail(headers["x-stockyard-trace-id"], "multicall"))[-1][1]
        assert (winner["by"], winner["similarity"]) == ("similarity", "embedder")
        assert verdict([other, *same]).agreement < winner["agreement"], "words alone say less"


async def test_without_the_extra_meaning_is_refused_and_words_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("modules.forge.multicall", "embedding.embedder"):
        monkeypatch.setattr(f"instance.chute.{where}.missing_packages", lambda: ["onnxruntime"])
    async with panel(strategy="consensus", on_disagree="deliver") as (s, mocks):
        answers(mocks, *map(text, PROSE))
        _, headers = await said(s, stream=False)
        assert (await s.trail(headers["x-stockyard-trace-id"], "multicall"))[-1][1]["similarity"] == "lexical"
        route = {"name": "p", "targets": ["a/m", "b/m"], "strategy": "consensus", "similarity": "embedder"}
        answer = await s.http(s.admin_key).put("/api/proxy/modules/multicall", json={"config": {"routes": [route]}})
        assert "stockyard[semantic]" in answer.json()["error"]["message"]
        assert answer.status_code >= 400
        assert s.module("multicall").settings.routes[0].name == "panel"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("strategy", "winner"), [("cheapest", "m2/m"), ("longest", "m1/m"), ("shortest", "m0/m")])
async def test_cheapest_longest_and_shortest(strategy: str, winner: str, stream: bool) -> None:
    async with panel(strategy=strategy) as (s, mocks):
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        answers(mocks, text("a", usage=usage), text("a b c d", usage=usage), text("a b", usage=usage))
        _, headers = await said(s, stream=stream)
        assert headers["x-stockyard-winner"] == winner


async def test_what_is_empty_or_broken_off_wins_nothing() -> None:
    async with panel(strategy="shortest") as (s, mocks):
        answers(mocks, text(""), text("cut", finish="length"), text("whole"))
        assert (await said(s, stream=False))[0] == "whole"


async def test_a_quorum_decides_without_the_rest() -> None:
    async with panel(strategy="consensus", quorum=2) as (s, mocks):
        answers(mocks, text("4"), text("4"), delay(30, "5"))
        words, headers = await said(s, stream=False)
        assert words == "4"
        assert (await s.trail(headers["x-stockyard-trace-id"], "multicall"))[-1][1]["agreement"] == 1.0
        await until(lambda: mocks[2].calls[0].hung_up)


async def test_others_are_waited_for_only_so_long_after_the_first() -> None:
    async with panel(strategy="longest", wait_s=0.1) as (s, mocks):
        answers(mocks, text("first"), delay(30, "a much longer one"), delay(30, "another"))
        assert (await said(s, stream=False))[0] == "first"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_judge_picks(stream: bool) -> None:
    async with panel(2, strategy="judge", judge_model="up/small") as (s, mocks):
        answers(mocks, text("wrong"), text("right"))

        def judged(asked: Any) -> str:
            task = asked["messages"][1]["content"]
            return "A" if task.index("right") < task.index("wrong") else "B"

        s.mock.script(text('{"best": "A"}'), text('{"best": "B"}'))
        first, headers = await said(s, stream=stream)
        asked = s.mock.calls[0].json()
        assert "m0" not in orjson.dumps(asked["messages"]).decode()
        assert first == ("right" if judged(asked) == "A" else "wrong")
        trace = await record(s, headers)
        assert [row["provider"] for row in trace["attempts"]].count("up") == 1
        winner = (await s.trail(trace["id"], "multicall"))[-1][1]
        assert winner["judge"] == "up/small"


async def test_without_the_judges_word_the_first_acceptable_is_delivered() -> None:
    async with panel(2, strategy="judge", judge_model="up/small") as (s, mocks):
        answers(mocks, text("one"), text("two"))
        s.mock.script(status(500))
        words, headers = await said(s, stream=False)
        assert words == "one"
        assert (await s.trail(headers["x-stockyard-trace-id"], "multicall"))[-1][1]["no_judgement"] is True


@pytest.mark.parametrize("stream", [False, True])
async def test_one_answer_is_written_from_all(stream: bool) -> None:
    async with panel(2, strategy="merge", judge_model="up/small") as (s, mocks):
        answers(mocks, text("half of it"), text("the other half"))
        s.mock.script(text("the whole of it"))
        words, headers = await said(s, stream=stream)
        assert words == "the whole of it"
        asked = s.mock.calls[0].json()["messages"][1]["content"]
        assert "half of it" in asked
        assert "the other half" in asked
        trace = await record(s, headers)
        assert trace["attempts_count"] == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_merged_is_paid_at_the_price_of_each_model(stream: bool) -> None:
    async with panel(2, strategy="merge", judge_model="m1/m") as (s, mocks):
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        mocks[0].script(text("the longer half of it", usage=usage))
        mocks[1].script(text("another half", usage=usage), text("the whole of it", usage=usage))
        words, headers = await said(s, stream=stream)
        assert (words, headers["x-stockyard-winner"]) == ("the whole of it", "m1/m")
        assert (await record(s, headers))["cost_usd"] == pytest.approx(110 * (20 + 10 + 10) / 1e6)


@pytest.mark.parametrize("stream", [False, True])
async def test_every_answer_that_is_delivered_is_paid_once(stream: bool) -> None:
    async with panel(2, strategy="all") as (s, mocks):
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        answers(mocks, text("a", usage=usage), text("b", usage=usage))
        _, headers = await said(s, stream=stream)
        trace = await record(s, headers)
        assert (trace["tokens_in"], trace["cost_usd"]) == (100, pytest.approx(110 * (20 + 10) / 1e6))


async def test_every_answer_is_a_choice_of_its_own() -> None:
    async with panel(strategy="all") as (s, mocks):
        answers(mocks, text("a"), text("b"), text("c"))
        answer = (await s.chat()).json()
        assert [(choice["index"], choice["message"]["content"]) for choice in answer["choices"]] == [
            (0, "a"),
            (1, "b"),
            (2, "c"),
        ]


@pytest.mark.parametrize("stream", [False, True])
async def test_when_all_fail_each_reason_is_named(stream: bool) -> None:
    async with panel(2, strategy="consensus") as (s, mocks):
        answers(mocks, status(500), status(429))
        answer = await s.chat(stream=stream)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (502, "all_targets_failed")
        assert set(error["details"]) == {"m0/m", "m1/m"}
        assert "429" in error["message"]


@pytest.mark.parametrize("code", [400, 413, 429])
async def test_what_all_refuse_alike_has_their_status(code: int) -> None:
    async with panel(2, strategy="consensus") as (s, mocks):
        answers(mocks, status(code), status(code))
        answer = await s.chat()
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (code, "all_targets_failed")
        assert answer.headers["x-should-retry"] == ("true" if code == 429 else "false")
        assert set(error["details"]) == {"m0/m", "m1/m"}


async def test_a_limit_that_all_are_at_says_when_the_first_is_free() -> None:
    async with panel(2, strategy="consensus") as (s, mocks):
        answers(mocks, status(429, headers={"retry-after": "60"}), status(429, headers={"retry-after": "7"}))
        assert (await s.chat()).headers["retry-after"] == "7"


async def test_a_caller_who_goes_cancels_all() -> None:
    import httpx2

    async with panel(3, strategy="consensus") as (s, mocks):
        answers(mocks, delay(30), delay(30), delay(30))
        with pytest.raises(httpx2.TimeoutException):
            await s.http().post("/v1/chat/completions", json=s.body(), timeout=0.3)
        await until(lambda: all(mock.calls and mock.calls[0].hung_up for mock in mocks))
        await until(lambda: s.instance.chute.in_flight == 0)


async def test_routes_by_header_by_glob_and_by_name() -> None:
    async with panel(2, strategy="fastest", match="m-pa*") as (s, mocks):
        s.model = "up/small"
        plain = await s.chat()
        assert "x-stockyard-winner" not in plain.headers
        by_header = await s.chat(headers={"X-Stockyard-Route": "panel"})
        assert by_header.headers["x-stockyard-winner"].startswith("m")
        s.model = "m-panel"
        assert (await s.chat()).headers["x-stockyard-winner"].startswith("m")
        unknown = await s.chat(headers={"X-Stockyard-Route": "nope"})
        assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "X-Stockyard-Route")
        s.model = "multi:nope"
        missing = await s.chat()
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        assert len(mocks) == 2


async def test_a_key_narrowed_to_some_models_reaches_no_other_through_a_route() -> None:
    async with panel(2, strategy="consensus") as (s, mocks):
        made = await s.http(s.admin_key).post(
            "/api/auth/me/keys",
            json={"name": "narrow", "kind": "proxy", "limits": {"models": ["multi:*", "m0/*"]}},
        )
        key = made.json()["key"]
        answers(mocks, text("4"), text("5"))
        answer = await s.http(key).post("/v1/chat/completions", json=s.body())
        assert answer.json()["choices"][0]["message"]["content"] == "4"
        assert len(mocks[1].calls) == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "strategy"),
    [
        ("/v1/messages", "fastest"),
        ("/v1/messages", "consensus"),
        ("/v1/responses", "consensus"),
        ("/v1/responses", "fastest"),
        ("/v1/completions", "consensus"),
    ],
)
async def test_callers_of_other_dialects_ask_several_too(path: str, strategy: str, stream: bool) -> None:
    async with panel(strategy=strategy) as (s, mocks):
        answers(mocks, text("fortytwo"), text("fortytwo"), text("fortytwo"))
        asked: dict[str, Any] = {"model": s.model, "stream": stream, "max_tokens": 50}
        if path == "/v1/messages":
            asked["messages"] = [{"role": "user", "content": "hi"}]
        elif path == "/v1/responses":
            asked = {"model": s.model, "stream": stream, "input": "hi", "store": False}
        else:
            asked["prompt"] = "hi"
        answer = await s.http().post(path, json=asked)
        assert answer.status_code == 200, answer.text
        assert "fortytwo" in answer.text
        assert answer.headers["x-stockyard-winner"].startswith("m")
        trace = await record(s, answer.headers)
        assert (trace["status"], trace["http_status"]) == ("ok", 200)
        if stream:
            assert "error" not in {
                line.partition(":")[2].strip() for line in answer.text.splitlines() if line.startswith("event:")
            }


async def test_an_answer_that_comes_at_the_same_time_as_the_one_taken_is_there_to_be_paid() -> None:
    x = exchange()
    contenders = [Contender(each, x.branch([each])) for each in (target("a/m"), target("b/m"))]

    async def call(branch: Exchange) -> Answer:
        return whole("hi")

    await ask_all(contenders, call, needed=1, wait_s=1.0, timeout_s=1.0)
    assert [one.ok for one in contenders] == [True, False]
    assert [one.answer is not None for one in contenders] == [True, True]


async def test_a_budget_reserves_for_all_that_are_asked() -> None:
    async with panel(3, strategy="consensus") as (s, mocks):
        # 100 tokens cost 1,000 to 3,000 millionths of a dollar: the three together more than one alone may come to.
        await s.configure({"costcap": {"daily_limit_usd": 0.004}})
        refused = await s.chat(max_tokens=100)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
        assert all(len(mock.calls) == 0 for mock in mocks)
        s.model = "m0/m"
        assert (await s.chat(max_tokens=100)).status_code == 200


def test_a_model_that_took_no_route_takes_one_that_a_header_names() -> None:
    route = {"name": "panel", "match": "panel-*", "targets": ["a/m", "b/m"]}
    module = MultiCall(MultiCall.Settings.model_validate({"routes": [route]}))
    plain = exchange(model="gpt-4o")
    for _ in range(2):
        assert module.passes(plain)
        assert not module.passes(exchange(model="gpt-4o", headers={b"x-stockyard-route": b"panel"}))
        assert not module.passes(exchange(model="panel-two"))
        assert not module.passes(exchange(model="multi:panel"))
