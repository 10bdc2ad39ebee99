"""Each thing is broken for real, and the check-up finds it, says why it matters and how to mend it."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from control_plane.backups.places import Places
from control_plane.config import load_config
from control_plane.doctor import clock, descriptors, disk
from control_plane.doctor.finding import Finding
from control_plane.doctor.loop import judge_back_offs, judge_passes
from control_plane.doctor.notebook import Clocks, Sample, with_sample
from control_plane.domain.tenants import Status
from control_plane.store.schema import ledger
from control_plane.store.schema import tenants as table
from tests.control_plane.doctor.conftest import Patient

NOW = time.time()


def told(finding: Finding) -> bool:
    """It says why it matters and what to do."""
    return bool(finding.why and finding.mend)


async def test_a_folder_in_order_has_nothing_bad_but_what_does_not_run(patient: Patient) -> None:
    found = await patient.examined()
    bad = {name for name, finding in found.items() if finding.level == "bad"}
    assert bad == {"reconciler", "edge", "activator", "litestream"}
    assert {"database", "ledger", "secrets", "sockets", "tenants", "folders"} <= found.keys() - bad


async def test_what_does_not_run_is_named_with_the_log_that_says_why(patient: Patient) -> None:
    found = await patient.examined()
    for name in ("edge", "activator", "litestream"):
        assert found[name].runbook == "ComponentDown"
        assert f"{patient.config.data}/logs/{name}.log" in found[name].command
    assert "stockyard-cloud up" in found["reconciler"].command


async def test_a_changed_ledger_is_found_at_the_changed_entry(patient: Patient) -> None:
    for slug in ("ann", "bob"):
        await patient.create(slug)
    assert (await patient.examined())["ledger"].level == "ok"
    await patient.execute(update(ledger).where(ledger.c.seq == 2).values(actor="nobody"))
    finding = (await patient.examined())["ledger"]
    assert (finding.level, finding.runbook) == ("bad", "LedgerBroken")
    assert "entry 2" in finding.seen and told(finding)


async def test_a_damaged_database_is_found(patient: Patient) -> None:
    await patient.database.close()
    with patient.config.database_file.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))
    finding = (await patient.examined())["database"]
    assert finding.level == "bad" and told(finding)


@pytest.mark.parametrize("name", ["operator.key", "master.key", "run/snapshot.json", "control.db"])
async def test_a_secret_that_others_may_read_is_found(patient: Patient, name: str) -> None:
    path = patient.config.data / name
    path.touch()
    path.chmod(0o600)
    assert (await patient.examined())["secrets"].level == "ok"
    path.chmod(0o644)
    finding = (await patient.examined())["secrets"]
    assert (finding.level, finding.runbook) == ("bad", "SecretsExposed")
    assert f"{path} is 0644" in finding.seen and told(finding)


async def test_an_instance_file_that_its_group_may_read_is_found(patient: Patient) -> None:
    path = patient.config.instance_file("acme")
    path.parent.mkdir(mode=0o700)
    path.write_text("{}")
    path.chmod(0o440)
    assert str(path) in (await patient.examined())["secrets"].seen


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
async def test_a_secret_that_belongs_to_somebody_else_is_found(patient: Patient) -> None:
    os.chown(patient.config.master_key_file, 12345, -1)
    assert "belongs to user 12345" in (await patient.examined())["secrets"].seen


async def test_a_socket_that_everybody_may_call_is_found(patient: Patient) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(patient.config.litestream_socket))
        patient.config.litestream_socket.chmod(0o600)
        assert (await patient.examined())["sockets"].level == "ok"
        patient.config.litestream_socket.chmod(0o666)
        finding = (await patient.examined())["sockets"]
    assert finding.level == "bad" and "litestream.sock is 0666" in finding.seen


async def test_a_master_key_among_the_copies_is_found(patient: Patient) -> None:
    folder = patient.config.replicas_dir
    kept = patient.config.model_copy(update={"master_key_file": folder / "master.key"})
    finding = (await Patient(kept, patient.database).examined())["master_key"]
    assert (finding.level, finding.runbook) == ("bad", "MasterKeyWithBackups")
    assert told(finding)


async def test_copies_on_the_disk_of_the_originals_are_a_warning(patient: Patient) -> None:
    assert (await patient.examined())["replica_place"].level == "warn"


async def test_failed_tenants_are_told_by_what_is_to_be_done(patient: Patient) -> None:
    await patient.create("ann", Status.FAILED, "backup_unreadable")
    finding = (await patient.examined())["tenants"]
    assert finding.level == "bad" and "ann" in finding.seen
    assert finding.command == "stockyard-cloud tenants restore ann --dry-run"
    await patient.create("bob", Status.FAILED, "instance_does_not_start")
    await patient.create("eve", Status.FAILED, "something_new")
    assert told((await patient.examined())["tenants"])


async def test_a_backup_that_lags_is_found_only_where_something_would_be_lost(patient: Patient) -> None:
    await patient.create("ann")
    await patient.create("bob")
    await patient.epoch("ann", started_at=NOW - 9000, confirmed_at=NOW - 4000)
    await patient.epoch("bob", started_at=NOW - 9000, confirmed_at=NOW - 4000)
    await patient.execute(update(table).where(table.c.slug == "ann").values(last_request_at=NOW - 5000))
    assert (await patient.examined())["backup_lag"].level == "ok"
    used = update(table).where(table.c.slug == "bob").values(last_request_at=NOW - 1000)
    await patient.execute(used)
    finding = (await patient.examined())["backup_lag"]
    assert finding.level == "bad" and finding.seen.startswith("bob:")


async def test_unverified_and_broken_backups_are_found(patient: Patient) -> None:
    await patient.create("ann")
    await patient.create("bob")
    long_ago = NOW - 10 * 86_400
    await patient.epoch("ann", started_at=long_ago, confirmed_at=NOW)
    await patient.epoch("bob", started_at=long_ago, confirmed_at=NOW, verified_at=NOW, broken_at=NOW)
    found = await patient.examined()
    assert found["backup_verified"].seen.startswith("ann:")
    assert found["backup_verified"].command == "stockyard-cloud backups verify ann"
    assert (found["backup_broken"].level, found["backup_broken"].seen.split(":")[0]) == ("bad", "bob")


async def test_a_store_that_is_not_there_or_cannot_be_written_is_found(patient: Patient) -> None:
    assert (await patient.examined())["replica_store"].level == "ok"
    assert list(patient.config.replicas_dir.iterdir()) == []  # the probe is gone again
    patient.config.replicas_dir.rmdir()
    finding = (await patient.examined())["replica_store"]
    assert (finding.level, finding.runbook) == ("bad", "StoreUnreachable")
    patient.config.replicas_dir.write_text("a file")
    assert (await patient.examined())["replica_store"].level == "bad"


async def test_folders_of_nobody_are_found(patient: Patient) -> None:
    await patient.create("acme")
    for folder in ("tenants/acme", "tenants/acme.aside", "secrets/acme", "run/tenants/acme"):
        (patient.config.data / folder).mkdir(mode=0o700)
    assert (await patient.examined())["folders"].level == "ok"
    (patient.config.tenants_dir / "ghost").mkdir(mode=0o700)
    finding = (await patient.examined())["folders"]
    assert finding.level == "warn" and finding.seen.endswith("tenants/ghost")


async def test_tenants_on_another_image_than_new_ones_are_a_warning(patient: Patient) -> None:
    await patient.create("acme")
    docker = patient.config.model_copy(update={"runtime": "docker", "image": "image:2"})
    finding = (await Patient(docker, patient.database).examined())["images"]
    assert finding.level == "warn" and "1 on image:1" in finding.seen


async def test_a_control_plane_that_was_never_copied_is_said(patient: Patient) -> None:
    finding = (await patient.examined())["own_backup"]
    assert finding.level == "warn" and "incarnation 1" in finding.seen


async def test_an_edge_that_is_somebody_else_is_found(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            call, _ = listening.accept()
            with call:
                call.recv(4096)
                call.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = listening.getsockname()[1]
        moved = patient.config.model_copy(update={"edge_listen": f"127.0.0.1:{port}"})
        finding = (await Patient(moved, patient.database).examined())["edge"]
        thread.join()
    assert finding.level == "bad" and "with 200, not with 404" in finding.seen


async def test_a_socket_file_behind_which_nobody_listens_is_not_called_up(patient: Patient) -> None:
    for path in (patient.config.litestream_socket, patient.config.activator_socket):
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(path))
    found = await patient.examined()
    assert (found["litestream"].level, found["activator"].level) == ("bad", "bad")


# --- what is judged of figures alone -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "level"), [(50 << 30, "ok"), (5 << 30, "warn"), (500 << 20, "bad")], ids=["half", "a twentieth", "little"]
)
def test_free_space_is_judged_by_what_is_left(free: int, level: str) -> None:
    assert disk.judge_space(disk.Disk(100 << 30, free, 0, 0)).level == level


@pytest.mark.parametrize(("free", "level"), [(500, "ok"), (50, "warn"), (5, "bad")])
def test_inodes_are_judged_by_their_share(free: int, level: str) -> None:
    assert disk.judge_inodes(disk.Disk(1, 1, 1000, free)).level == level


@pytest.mark.parametrize(("per_hour", "level"), [(-1, "ok"), (1, "ok"), (2 << 30, "warn"), (10 << 30, "bad")])
def test_a_disk_that_will_be_full_soon_is_said_before(per_hour: int, level: str) -> None:
    samples = [Sample(0.0, (100 << 30) + per_hour), Sample(3600.0, 100 << 30)]
    assert disk.judge_growth(samples).level == level


def test_samples_of_free_space_are_bounded_in_number_and_age() -> None:
    samples: list[Sample] = []
    for number in range(10_000):
        samples = with_sample(samples, Sample(number * 400.0, number))
    assert len(samples) == 288
    assert with_sample(samples, Sample(samples[-1].at + 10, 1)) == samples


@pytest.mark.parametrize(
    ("after", "level"),
    [
        (Clocks(1100.0, 100.0, "b"), "ok"),
        (Clocks(1110.0, 100.0, "b"), "warn"),
        (Clocks(400.0, 100.0, "b"), "bad"),
        (Clocks(5000.0, 3.0, "another boot"), "ok"),
        (Clocks(10.0, 3.0, "another boot"), "bad"),
    ],
)
def test_a_wall_clock_that_jumped_is_found(after: Clocks, level: str) -> None:
    assert clock.judge_jump(Clocks(1000.0, 0.0, "b"), after).level == level


async def test_the_clock_is_compared_with_the_last_check_up(patient: Patient) -> None:
    await patient.examined()
    assert "no jump" in (await patient.examined())["clock"].seen


@pytest.mark.parametrize(("held", "level"), [(100, "ok"), (800, "warn"), (950, "bad")])
def test_processes_that_run_out_of_descriptors_are_found(held: int, level: str) -> None:
    assert descriptors.judge_descriptors([descriptors.Descriptors("edge", held, 1000)], 0).level == level


def test_a_litestream_that_cannot_hold_all_tenants_is_found_before_they_wake() -> None:
    finding = descriptors.judge_descriptors([descriptors.Descriptors("litestream", 10, 1024)], 1000)
    assert finding.level == "warn" and "5256" in finding.seen


def test_the_limit_of_a_real_process_is_read() -> None:
    (own,) = descriptors.look_at_descriptors(Path("/nowhere"))
    assert 0 < own.open < own.limit


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ({"paused": False, "since_pass_s": 1.0, "pass_s": 0.1}, "ok"),
        ({"paused": True, "since_pass_s": 1.0}, "warn"),
        ({"paused": False, "since_pass_s": None}, "warn"),
        ({"paused": False, "since_pass_s": 300.0}, "bad"),
    ],
)
def test_a_loop_that_does_not_come_round_is_found(status: dict[str, object], level: str) -> None:
    assert judge_passes(status).level == level


def test_back_offs_are_counted_by_reason() -> None:
    waiting = {slug: {"trouble": "no image"} for slug in ("ann", "bob")} | {"eve": {"trouble": "no disk"}}
    finding = judge_back_offs({"backing_off": waiting})
    assert finding.level == "warn" and finding.seen == "2 x no image; 1 x no disk"


def test_a_configuration_of_another_store_is_described_without_its_credentials() -> None:
    config = load_config({"data": "/x", "replica_url": "sftp://user:secret@host/path"}, {})
    assert Places(config.replica_url).shown == "sftp://host/path"
