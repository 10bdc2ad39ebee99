"""What counts as hit."""

from __future__ import annotations

from tests.chaos.disturbances import Call, Disturbance, Loss, Touches, first_answer, touched_by, windows


def call(tenant: str = "a", begun: float = 0.0, ended: float = 0.0, code: str = "ok", nonce: str = "a.1") -> Call:
    return Call(tenant, nonce, False, begun, ended, code)


def faults_at(begun: float, ended: float, tenant: str, *disturbances: Disturbance) -> list[str]:
    return touched_by(call(tenant, begun, ended), {tenant: windows(tenant, disturbances)})


def test_a_fault_of_one_tenant_touches_its_calls_until_it_answered_again_and_no_others() -> None:
    killed = Disturbance("killed", Touches.VICTIM, "a", begun=10, ended=11, healed={"a": 14})
    assert faults_at(9, 9.9, "a", killed) == []
    assert faults_at(9, 10, "a", killed) == ["killed"]
    assert faults_at(12, 13, "a", killed) == ["killed"]
    assert faults_at(14.1, 15, "a", killed) == []
    assert faults_at(12, 13, "b", killed) == []


def test_a_shared_part_touches_only_those_that_are_held_meanwhile() -> None:
    plane = Disturbance("plane", Touches.SHARED, begun=10, ended=12)
    held = Disturbance("asleep", Touches.HELD, "a", begun=11, ended=11, healed={"a": 13})
    later = Disturbance("asleep", Touches.HELD, "b", begun=12.5, ended=12.5, healed={"b": 13})
    assert faults_at(11, 12, "a", plane) == []
    assert faults_at(11, 12, "a", held) == []
    assert faults_at(12.9, 13, "a", plane, held) == ["plane"]
    assert faults_at(10, 10.9, "a", plane, held) == []
    assert faults_at(12.5, 13, "b", plane, later) == []


def test_the_edge_touches_everybody_and_litestream_nobody() -> None:
    edge = Disturbance("edge", Touches.EVERYBODY, begun=10, ended=11, healed={"a": 11.5, "b": 12})
    litestream = Disturbance("litestream", Touches.NOBODY, begun=10, ended=30)
    assert faults_at(11.4, 11.6, "a", edge, litestream) == ["edge"]
    assert faults_at(11.6, 11.9, "a", edge, litestream) == []
    assert faults_at(11.6, 11.9, "b", edge, litestream) == ["edge"]


def test_only_an_answer_to_a_call_that_began_afterwards_heals() -> None:
    calls = [call(begun=9, ended=12), call(begun=11, ended=11.5, code="waking"), call(begun=11, ended=13)]
    found = first_answer(calls, "a", 10)
    assert found is not None and found.ended == 13
    assert first_answer(calls, "b", 10) is None


def test_a_loss_excuses_what_was_completed_in_its_span_and_had_not_been_synced() -> None:
    loss = Loss("a", 10, 20, frozenset({"a.1"}))
    assert loss.excuses(call(begun=15, ended=16, nonce="a.2"))
    assert not loss.excuses(call(begun=15, ended=16, nonce="a.1"))
    assert not loss.excuses(call(begun=8, ended=9, nonce="a.2"))
    assert not loss.excuses(call(tenant="b", begun=15, ended=16, nonce="b.2"))
