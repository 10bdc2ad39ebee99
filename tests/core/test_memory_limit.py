"""What room a container leaves, as either version of cgroups tells it."""

from __future__ import annotations

from pathlib import Path

from instance.core.memory_limit import MemoryRoom, memory_room

MB = 1 << 20


def _say(folder: Path, **files: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_room_of_a_container_by_cgroup_v2(tmp_path: Path) -> None:
    stat = f"anon {90 * MB}\ninactive_file {10 * MB}\nactive_file 5\n"
    _say(tmp_path, memory__max=f"{256 * MB}\n", memory__current=f"{100 * MB}\n", memory__stat=stat)
    assert memory_room(tmp_path) == MemoryRoom(256 * MB, 166 * MB)


def test_the_room_of_a_container_by_cgroup_v1(tmp_path: Path) -> None:
    said = {"memory__limit_in_bytes": str(256 * MB), "memory__usage_in_bytes": str(250 * MB)}
    _say(tmp_path / "memory", **said, memory__stat=f"inactive_file 1\ntotal_inactive_file {4 * MB}\n")
    assert memory_room(tmp_path) == MemoryRoom(256 * MB, 10 * MB)


def test_nothing_is_said_where_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_room(tmp_path) is None
    _say(tmp_path, memory__max="max\n", memory__current="5\n", memory__stat="")
    assert memory_room(tmp_path) is None
    said = {"memory__limit_in_bytes": "9223372036854771712", "memory__usage_in_bytes": "5", "memory__stat": ""}
    _say(tmp_path / "memory", **said)
    assert memory_room(tmp_path) is None
