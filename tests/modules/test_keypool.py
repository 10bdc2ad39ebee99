from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.modules.other.keypool import KeyPool
from instance.chute.modules.other.pooled_key import NS, LastMinute, PooledKey
from instance.core.clock import FakeClock
from instance.core.errors import StockyardError
from tests.mock_replies import Reply, status, text
from tests.modules.conftest import Running, running
from tests.modules.exchanges import Script, core, exchange, http_failure, whole
from tests.modules.upstreams import TurnedClock

FIRST, SECOND = "first-key-of-the-pool-0001", "second-key-of-the-pool-0002"


def rows(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "provider": "openai", "key": f"secret-of-{name}-000", **more} for name in names]


async def pool(keys: list[dict[str, Any]], clock: FakeClock | None = None, **settings: Any) -> KeyPool:
    made = KeyPool(KeyPool.Settings.model_validate({"keys": keys, **settings}), random=lambda: 0.5)
    await made.start(core(clock or FakeClock()), None)
    return made


async def used(made: KeyPool, outcome: Any = None, **more: Any) -> str:
    """The name of the key that a call went out with."""
    names: list[str] = []

    async def call(x: Any) -> Any:
        names.append(x.provider_key.name)
        if isinstance(outcome, Exception):
            raise outcome
        return whole()

    x = exchange(**more)
    await made.around(x, call)
    assert x.provider_key is None
    x.usage.input = 100
    made.on_finish(x)
    return names[-1]


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    minute = LastMinute()
    minute.add(3, 0)
    minute.add(2, 30 * NS)
    assert minute.frees_s(5, 30 * NS) == 30
    minute.pass_to(60 * NS)
    assert minute.total == 2
    minute.pass_to(500 * NS)
    assert minute.total == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["began", "used", "cool", "refused", "spent", "reset"]), st.integers(0, 40)),
        max_size=30,
    ),
    st.integers(0, 3),
    st.integers(0, 300),
    st.sampled_from([0.0, 0.00001]),
)
def test_a_key_is_free_when_there_is_nothing_to_wait_for(
    steps: list[tuple[str, int]], rpm: int, tpm: int, usd_day: float
) -> None:
    key = PooledKey("openai", "a", "secret-of-a-000", rpm=rpm, tpm=tpm, usd_day=usd_day)
    now = NS
    for what, seconds in steps:
        now += seconds * NS
        if what == "began":
            key.began(now)
        elif what == "used":
            key.used(100, 4000, now, now)
        elif what == "cool":
            key.cool(None, 10.0, now)
        elif what == "spent":
            key.spent(now)
        else:
            getattr(key, what)()
        assert key.is_free(now, now) == (key.free_in_s(now, now) == 0)


async def test_without_keys_it_is_in_no_plan() -> None:
    assert (await pool([])).hooks() == ()


async def test_round_robin_keeps_the_weights_exactly() -> None:
    keys = rows("a", weight=3) + rows("b")
    made = await pool(keys)
    assert Counter([await used(made) for _ in range(40)]) == {"a": 30, "b": 10}


async def test_priority_uses_the_first_that_can() -> None:
    made = await pool(rows("a", "b"), strategy="priority")
    assert [await used(made) for _ in range(3)] == ["a", "a", "a"]
    made.pools["openai"][0].cool(30, 60, made._clock.mono_ns())
    assert await used(made) == "b"


async def test_least_used_looks_at_the_tokens_of_the_last_minute() -> None:
    made = await pool(rows("a", "b"), strategy="least_used")
    made.pools["openai"][0].used(1000, 0, made._clock.mono_ns(), 0)
    assert [await used(made) for _ in range(3)] == ["b", "b", "b"]


async def test_most_quota_looks_at_what_the_provider_says_is_left() -> None:
    made = await pool(rows("a", "b"), strategy="most_quota")
    made.pools["openai"][0].answered(0.2)
    made.pools["openai"][1].answered(0.7)
    assert await used(made) == "b"


async def test_a_session_keeps_its_key() -> None:
    made = await pool(rows("a", "b", "c"), strategy="session")
    by_session = {session: {await used(made, session=session) for _ in range(3)} for session in map(str, range(12))}
    assert all(len(names) == 1 for names in by_session.values())
    assert len(set.union(*by_session.values())) == 3


async def test_a_key_serves_only_its_models() -> None:
    made = await pool(rows("a", models=["gpt-4*"]) + rows("b", models=["o1*"]))
    assert [await used(made, model="gpt-4o") for _ in range(2)] == ["a", "a"]
    assert await used(made, model="o1-mini") == "b"
    x, script = exchange(model="other"), Script(whole())
    await made.around(x, script)
    assert script.calls == 1


@pytest.mark.parametrize(("limit", "calls"), [({"rpm": 2}, 2), ({"tpm": 150}, 2), ({"usd_day": 0.01}, 1)])
async def test_a_keys_own_limits_hold(limit: dict[str, Any], calls: int) -> None:
    clock = FakeClock()
    made = await pool(rows("a", **limit), clock)
    for _ in range(calls):
        await used(made)
    made.pools["openai"][0].used(0, 10**7, clock.mono_ns(), clock.wall_ns())
    with pytest.raises(StockyardError) as caught:
        await used(made)
    assert caught.value.code == "keys_exhausted"
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 86_400
    clock.advance(86_400 if "usd_day" in limit else 61)
    assert await used(made) == "a"


async def test_a_call_waits_for_a_key_where_it_may() -> None:
    class Waiting(FakeClock):
        async def sleep(self, seconds: float) -> None:
            self.advance(seconds)

    clock = Waiting()
    made = await pool(rows("a"), clock, wait_s=5)
    made.pools["openai"][0].cool(3, 60, clock.mono_ns())
    assert await used(made) == "a"


async def test_a_cooling_time_that_is_not_named_doubles_up_to_a_quarter_of_an_hour() -> None:
    key = PooledKey("openai", "a", "secret")
    assert [key.cool(None, 60, 0) for _ in range(6)] == [60, 120, 240, 480, 900, 900]
    key.answered(None)
    assert key.cool(None, 60, 0) == 60


async def test_two_refusals_in_a_row_set_a_key_aside_until_it_is_reset() -> None:
    made = await pool(rows("a"))
    for _ in range(2):
        with pytest.raises(Exception, match=r"401|no_valid_key"):
            await used(made, http_failure(401))
    with pytest.raises(StockyardError) as caught:
        await used(made)
    assert (caught.value.code, caught.value.status) == ("no_valid_key", 503)
    made.reset("openai", "a")
    assert await used(made) == "a"


async def test_a_key_without_credit_rests_until_the_next_day() -> None:
    clock = FakeClock()
    made = await pool(rows("a", "b"), clock, strategy="priority")
    x = exchange()
    script = Script(http_failure(429, {"error": {"code": "insufficient_quota", "message": "no"}}), whole())
    await made.around(x, script)
    clock.advance(3600)
    assert await used(made) == "b"
    clock.advance(86_400)
    assert await used(made) == "a"


async def test_state_survives_a_change_of_settings_but_not_of_the_key() -> None:
    clock = FakeClock()
    made = await pool(rows("a", "b"), clock)
    for key in made.all_keys():
        key.cool(30, 60, clock.mono_ns())
    changed = [*rows("a"), {**rows("b")[0], "key": "another-secret-0003"}]
    new = KeyPool(KeyPool.Settings.model_validate({"keys": changed}))
    await new.start(core(clock), made)
    assert {await used(new) for _ in range(4)} == {"b"}


def two(**settings: Any) -> dict[str, Any]:
    keys = [{"name": "k1", "provider": "up", "key": FIRST}, {"name": "k2", "provider": "up", "key": SECOND}]
    return {"keypool": {"keys": keys, **settings}, "retry": False}


def turned(s: Running) -> TurnedClock:
    clock = s.module("keypool")._clock = TurnedClock()
    return clock


@pytest.mark.parametrize("stream", [False, True])
async def test_a_limited_key_is_passed_over_and_rests(stream: bool) -> None:
    async with running(two()) as s:
        clock = turned(s)
        s.mock.script(status(429), text("ok"))
        answer = await s.chat(stream=stream)
        assert answer.status_code == 200
        assert "ok" in answer.text
        assert [call.key for call in s.mock.calls] == [FIRST, SECOND]
        for _ in range(4):
            await s.chat(stream=stream)
        assert {call.key for call in list(s.mock.calls)[1:]} == {SECOND}
        clock.advance(60.1)
        for _ in range(2):
            await s.chat(stream=stream)
        assert {call.key for call in list(s.mock.calls)[-2:]} == {FIRST, SECOND}
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert [row["key_name"] for row in trace["attempts"]] == ["k1", "k2"]
        assert await s.trail(trace["id"], "keypool") == [("key", {"name": "k1", "reason": "429, rests 60 s"})]


@pytest.mark.parametrize("stream", [False, True])
async def test_when_all_keys_are_limited_the_soonest_is_named(stream: bool) -> None:
    async with running(two()) as s:
        s.mock.script(status(429, headers={"retry-after": "3"}), status(429, headers={"retry-after": "7"}))
        answer = await s.chat(stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "keys_exhausted")
        assert answer.headers["retry-after"] == "3"
        assert answer.headers["x-stockyard-module"] == "keypool"
        assert len(s.mock.calls) == 2
        assert (await s.chat(stream=stream)).status_code == 429
        assert len(s.mock.calls) == 2


async def test_keys_are_sealed_at_rest_and_shown_by_their_last_four() -> None:
    async with running(two()) as s:
        await s.settled()
        stored = b"".join(path.read_bytes() for path in Path(s.instance.core.data_dir).rglob("*") if path.is_file())
        assert FIRST.encode() not in stored
        admin = s.http(s.admin_key)
        shown = (await admin.get("/api/proxy/modules/keypool")).text
        listed = (await admin.get("/api/proxy/modules")).text
        state = (await admin.get("/api/proxy/modules/keypool/keys")).text
        for page in (shown, listed, state):
            assert FIRST not in page
            assert "…0001" in page
        assert [row["state"] for row in orjson.loads(state)["keys"]] == ["ready", "ready"]


async def test_settings_sent_back_as_they_were_shown_keep_the_keys() -> None:
    async with running(two()) as s:
        admin = s.http(s.admin_key)
        config = (await admin.get("/api/proxy/modules/keypool")).json()["config"]
        config["strategy"] = "priority"
        config["keys"][1]["key"] = "a-new-key-of-the-pool-0009"
        answer = await admin.put("/api/proxy/modules/keypool", json={"config": config})
        assert answer.status_code == 200
        s.mock.script(status(429), text("ok"))
        await s.chat()
        assert [call.key for call in s.mock.calls] == [FIRST, "a-new-key-of-the-pool-0009"]


async def test_keys_are_there_after_a_restart() -> None:
    async with running(two()) as s:
        registry = s.instance.chute.registry
        await registry.stop()
        await registry.start()
        await s.chat()
        assert s.mock.calls[0].key in (FIRST, SECOND)


async def test_a_key_set_aside_is_shown_and_given_back_by_hand() -> None:
    async with running(two(strategy="priority")) as s:
        admin = s.http(s.admin_key)
        s.mock.script(status(401), text("a"), status(401), text("b"))
        for _ in range(2):
            assert (await s.chat()).status_code == 200
        states = (await admin.get("/api/proxy/modules/keypool/keys")).json()["keys"]
        assert [row["state"] for row in states] == ["bad", "ready"]
        assert (await admin.post("/api/proxy/modules/keypool/keys/up/k1/reset")).status_code == 200
        await s.chat()
        assert s.mock.calls[-1].key == FIRST
        assert (await admin.post("/api/proxy/modules/keypool/keys/up/k9/reset")).status_code == 404


async def test_a_provider_with_pooled_keys_needs_none_of_its_own() -> None:
    async with running() as s:
        await s.configure({"keypool": {"keys": [{"name": "k", "provider": "bare", "key": FIRST}]}})
        made = await s.http(s.admin_key).post(
            "/api/proxy/providers", json={"name": "bare", "base_url": s.mock.url, "models": ["tiny"]}
        )
        assert made.status_code == 201
        s.model = "bare/tiny"
        assert (await s.chat()).status_code == 200
        assert s.mock.calls[0].key == FIRST


async def test_the_built_in_model_is_left_alone() -> None:
    async with running(two()) as s:
        s.model = "mock/gpt"
        assert (await s.chat()).status_code == 200


async def test_what_a_provider_says_of_a_pooled_key_is_taken_out() -> None:
    async with running(two()) as s:
        said = Reply(status=400, body=orjson.dumps({"error": {"message": f"bad call with {FIRST}"}}))
        s.mock.script(said)
        answer = await s.chat()
        assert answer.status_code == 400
        assert FIRST not in answer.text


async def test_keys_of_the_configuration_file_are_masked_too_and_the_settings_take_none() -> None:
    config = f'[[modules.keypool.keys]]\nname = "k1"\nprovider = "up"\nkey = "{FIRST}"\n'
    async with running(config=config) as s:
        await s.chat()
        assert s.mock.calls[0].key == FIRST
        admin = s.http(s.admin_key)
        shown = (await admin.get("/api/config")).text
        assert FIRST not in shown
        assert "…0001" in shown
        given = {"modules": {"keypool": {"keys": [{"name": "k2", "provider": "up", "key": SECOND}]}}}
        refused = await admin.post("/api/config", json=given)
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "modules.keypool.keys")
        assert "/api/proxy/modules/keypool" in refused.json()["error"]["message"]
        kept = {"keys": [{"name": "k1", "provider": "up", "key": "…0001", "rpm": 5}]}
        assert (await admin.put("/api/proxy/modules/keypool", json={"config": kept})).status_code == 200
        await s.chat()
        assert s.mock.calls[1].key == FIRST


async def test_of_keys_that_used_as_little_each_has_its_turn_by_its_weight() -> None:
    keys = [*rows("a", weight=2), *rows("b", weight=1), *rows("c")]
    made = await pool(keys, strategy="least_used")
    names = Counter([made._picked(exchange(), made.all_keys(), 0).name for _ in range(40)])  # type: ignore[union-attr]
    assert names == {"a": 20, "b": 10, "c": 10}
    made.all_keys()[0].used(100, 0, 0, 0)
    names = Counter([made._picked(exchange(), made.all_keys(), 0).name for _ in range(40)])  # type: ignore[union-attr]
    assert names == {"b": 20, "c": 20}


@pytest.mark.parametrize("stream", [False, True])
async def test_each_key_counts_what_its_own_attempts_used(stream: bool) -> None:
    keys = [{"name": name, "provider": "up", "key": key} for name, key in (("one", FIRST), ("two", SECOND))]
    gate = {"checks": [{"type": "min_chars", "params": {"value": 5}}]}
    prices = '[prices."up/small"]\nin_usd_per_mtok = 10\nout_usd_per_mtok = 10\n'
    async with running({"keypool": {"keys": keys}, "evalgate": gate}, config=prices) as s:
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        s.mock.script(text("no", usage=usage), text("long enough", usage={**usage, "completion_tokens": 20}))
        assert (await s.chat(stream=stream)).status_code == 200
        await s.settled()
        shown = s.module("keypool").rows()
        assert sorted(row["tokens_last_minute"] for row in shown) == [110, 120]
        assert sorted(row["usd_today"] for row in shown) == pytest.approx([0.0011, 0.0012])
