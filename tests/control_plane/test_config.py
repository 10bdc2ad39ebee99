"""Settings come from defaults, cloud.toml, environment and flags, later ones winning; mistakes are named."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from control_plane.config import load_config
from control_plane.errors import ConfigError
from control_plane.keys import operator_key
from control_plane.master_key import load_master_key
from instance.core.secrets import SecretError


def _toml(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "cloud.toml").write_text(text)
    return {"STOCKYARD_CLOUD_DATA": str(tmp_path)}


def test_the_environment_wins_over_the_file_and_a_flag_over_both(tmp_path: Path) -> None:
    env = _toml(tmp_path, 'listen = "127.0.0.1:1"\nedge_listen = "127.0.0.1:2"\ndomain = "a.example"\n')
    env |= {"STOCKYARD_CLOUD_EDGE_LISTEN": "127.0.0.1:3", "STOCKYARD_CLOUD_DOMAIN": "b.example"}
    config = load_config({"domain": "c.example", "runtime": None}, env)
    assert (config.listen, config.edge_listen, config.domain) == ("127.0.0.1:1", "127.0.0.1:3", "c.example")


def test_a_plan_keeps_what_is_not_changed_and_a_new_one_begins_as_free(tmp_path: Path) -> None:
    env = _toml(tmp_path, "[plans.free]\nrpm = 5\n[plans.team]\nmemory_mb = 512\n")
    config = load_config({}, env | {"STOCKYARD_CLOUD_PLANS_FREE_IDLE_NAP_S": "7"})
    assert (config.plan("free").rpm, config.plan("free").idle_nap_s, config.plan("free").memory_mb) == (5, 7, 256)
    assert (config.plan("team").memory_mb, config.plan("team").idle_nap_s) == (512, 300)
    assert config.plan("pro").backup_days == 30


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('listn = "127.0.0.1:1"', "unknown key `listn` .* did you mean `listen`"),
        ("[plans.free]\nidle_nap = 1", "unknown key `plans.free.idle_nap` .* did you mean `idle_nap_s`"),
        ('listen = "here"', "`listen`: .*HOST:PORT"),
        ("listen = ", "cannot be read"),
        ("[plans.free]\nmemory_mb = -1", "plans.free.memory_mb"),
        ("[plans.free]\nkey_lease_s = 20", "plans.free.key_lease_s.*at least 60"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_what_would_be_right(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_config({}, _toml(tmp_path, text))


def test_an_unknown_variable_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean `runtime`"):
        load_config({"data": tmp_path}, {"STOCKYARD_CLOUD_RUNTME": "docker"})


def test_backups_and_master_key_lie_in_the_data_folder_by_default(tmp_path: Path) -> None:
    config = load_config({"data": tmp_path}, {})
    assert config.replica_url == str(tmp_path / "replicas")
    assert config.master_key_file == tmp_path / "master.key"


def test_operator_and_master_key_are_made_once_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    config = load_config({"data": tmp_path / "new"}, {})
    config.prepare()
    key, made = operator_key(config, {})
    sealed = load_master_key(config, {}).seal(b"secret")
    assert made
    assert operator_key(config, {}) == (key, False)
    assert load_master_key(config, {}).open(sealed) == b"secret"
    for path in (config.operator_key_file, config.master_key_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.data.stat().st_mode) == 0o700


def test_a_missing_master_key_beside_a_database_is_not_replaced(tmp_path: Path) -> None:
    config = load_config({"data": tmp_path}, {})
    config.database_file.write_bytes(b"rows")
    with pytest.raises(ConfigError, match="put the master key back"):
        load_master_key(config, {})


def test_another_master_key_opens_nothing(tmp_path: Path) -> None:
    config = load_config({"data": tmp_path}, {})
    sealed = load_master_key(config, {}).seal(b"secret")
    with pytest.raises(SecretError):
        load_master_key(config, {"STOCKYARD_CLOUD_MASTER_KEY": "ab" * 32}).open(sealed)
