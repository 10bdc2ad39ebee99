from __future__ import annotations

from pathlib import Path

import pytest

from instance.core.settings import Settings
from instance.core.settings_sources import SettingsError, from_env, leaves, nested


def problems(tmp_path: Path, **layers: object) -> list[dict[str, str]]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(tmp_path, **layers)  # type: ignore[arg-type]
    details: list[dict[str, str]] = caught.value.details
    return details


def test_without_anything_every_setting_has_its_default_and_no_source(tmp_path: Path) -> None:
    settings, sources = Settings.load(tmp_path)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 4200)
    assert settings.limits.body_bytes == 10 * 1024 * 1024
    assert sources == {}


def test_flags_win_over_the_environment_that_over_the_api_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "stockyard.toml").write_text("[server]\nport = 1\nhost = 'file'\nuds = 'u'\n[limits]\ntools = 1\n")
    settings, sources = Settings.load(
        tmp_path,
        api_values={"server.port": 2, "server.host": "api", "limits.messages": 7},
        env={"STOCKYARD_SERVER__PORT": "3", "STOCKYARD_SERVER__HOST": "env"},
        flags={"server.port": 4, "server.uds": None},
    )
    assert (settings.server.port, settings.server.host, settings.server.uds) == (4, "env", "u")
    assert (settings.limits.tools, settings.limits.messages) == (1, 7)
    assert sources == {
        "server.port": "flag",
        "server.host": "env",
        "server.uds": "file",
        "limits.tools": "file",
        "limits.messages": "api",
    }


@pytest.mark.parametrize(
    ("env", "near"),
    [
        ("STOCKYARD_SERVER__PROT", "server.port"),
        ("STOCKYARD_LIMIT__TOOLS", "limits"),
        ("STOCKYARD_CLIENT_IPS", "client_ip"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(tmp_path: Path, env: str, near: str) -> None:
    (problem,) = problems(tmp_path, env={env: "1"})
    assert problem["code"] == "unknown_field"
    assert problem["source"] == "env"
    assert f"did you mean {near}?" in problem["message"]


def test_an_unknown_field_of_a_provider_in_the_file_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "stockyard.toml").write_text("[providers.ollama]\nbase_ulr = 'http://127.0.0.1'\n")
    (problem,) = problems(tmp_path)
    assert problem["param"] == "providers.ollama.base_ulr"
    assert "providers.ollama.base_url" in problem["message"]


def test_every_bad_value_is_listed_at_once_with_its_source(tmp_path: Path) -> None:
    found = problems(tmp_path, env={"STOCKYARD_SERVER__PORT": "many"}, flags={"limits.tools": 0})
    assert {(row["param"], row["source"]) for row in found} == {("server.port", "env"), ("limits.tools", "flag")}


@pytest.mark.parametrize("port", ["-1", "65536", "4.5", ""])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    (problem,) = problems(tmp_path, env={"STOCKYARD_SERVER__PORT": port})
    assert problem["code"] == "invalid_value"


def test_the_names_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    env = {
        "STOCKYARD_ADMIN_KEY": "a",
        "STOCKYARD_DATA": "b",
        "STOCKYARD_SECRET_KEY": "c",
        "STOCKYARD_INSTANCE_FILE": "d",
        "STOCKYARD_CLOUD_DOMAIN": "e",
        "HOME": "f",
    }
    assert Settings.load(tmp_path, env=env)[1] == {}


def test_lists_are_written_with_commas_or_as_json_in_the_environment(tmp_path: Path) -> None:
    for text in ("10.0.0.0/8, 192.168.0.1", '["10.0.0.0/8", "192.168.0.1"]'):
        settings, _ = Settings.load(tmp_path, env={"STOCKYARD_SERVER__TRUSTED_PROXIES": text})
        assert settings.server.trusted_proxies == ["10.0.0.0/8", "192.168.0.1"]


def test_a_modules_switch_in_the_environment_is_no_text() -> None:
    assert from_env({"STOCKYARD_MODULES__RETRY__ENABLED": "false"}) == {"modules": {"retry": {"enabled": False}}}


def test_a_price_of_a_model_with_a_dot_in_its_name_is_found_by_its_path(tmp_path: Path) -> None:
    settings, _ = Settings.load(tmp_path, api_values={"prices.openai/gpt-4.1.in_usd_per_mtok": 2.5})
    assert str(settings.prices["openai/gpt-4.1"].in_usd_per_mtok) == "2.5"


def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "stockyard.toml").write_text("port = ")
    (problem,) = problems(tmp_path)
    assert "stockyard.toml" in problem["param"]


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, toml_path=tmp_path / "other.toml")
    assert "no such file" in problem["message"]


def test_a_providers_key_is_never_shown(tmp_path: Path) -> None:
    settings, _ = Settings.load(tmp_path, flags={"providers.openai.api_key": "sk-very-secret"})
    assert settings.providers["openai"].api_key.get_secret_value() == "sk-very-secret"
    assert "sk-very-secret" not in repr(settings)
    assert "sk-very-secret" not in settings.model_dump_json()


def test_paths_and_nested_values_are_two_forms_of_one_thing() -> None:
    values = {"server.port": 1, "modules.retry.enabled": True, "prices.p/m-1.5.in_usd_per_mtok": 3}
    assert set(leaves(nested(values))) == set(values)
