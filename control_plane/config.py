"""The control plane's configuration: defaults < cloud.toml < STOCKYARD_CLOUD_… < flags, and where its files lie."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from control_plane.domain.plans import DEFAULT_PLANS, Plan
from control_plane.errors import ConfigError, nearest

ENV_PREFIX = "STOCKYARD_CLOUD_"
# Read elsewhere by these names; no settings.
ENV_NOT_SETTINGS = {"URL", "OPERATOR_KEY", "MASTER_KEY", "MASTER_KEY_OLD", "DATA", "CONFIG"}

LEASE_LEAST_S = 60  # several looks of the reconciler at an instance that is awake

LISTS = ("reserved_slugs", "trusted_proxies")  # given with commas in the environment


class PlanSettings(BaseModel):
    """Limits of one plan; what is left out keeps the value of the built-in plan of that name, else of `free`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    idle_nap_s: int = Field(ge=1, le=31_536_000)
    idle_sleep_s: int = Field(ge=1, le=31_536_000)
    memory_mb: int = Field(ge=64, le=1_048_576)
    cpus: float = Field(gt=0, le=256)
    max_database_bytes: int = Field(ge=1 << 20)
    rpm: int = Field(ge=0)
    requests_month: int = Field(ge=0)
    backup_days: int = Field(ge=1, le=3_650)
    key_lease_s: int = Field(ge=0, le=31_536_000)
    delete_grace_s: int = Field(ge=0, le=31_536_000)
    quota_grace_percent: int = Field(ge=0, le=1_000)

    @field_validator("key_lease_s")
    @classmethod
    def _lease(cls, value: int) -> int:
        if 0 < value < LEASE_LEAST_S:
            raise ValueError(f"must be 0 or at least {LEASE_LEAST_S}: it is renewed about every 15 s")
        return value


class Config(BaseModel):
    """Everything an operator sets, and the paths that follow from `data`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: Path = Field(description="data folder")
    database_url: str = Field("", description="SQLAlchemy URL; empty = SQLite file control.db in the data folder")
    listen: str = Field("127.0.0.1:4300", description="address of the API")
    edge_listen: str = Field("127.0.0.1:8080", description="address of tenant traffic in development")
    domain: str = Field("localhost", description="tenants answer at SLUG.DOMAIN")
    runtime: Literal["process", "docker", "swarm"] = Field("process", description="what runs the instances")
    image: str = Field("stockyard-instance:latest", description="image of new tenants (docker, swarm)")
    region: str = Field("local", description="region of new tenants")
    replica_url: str = Field("", description="where backups go: directory, s3://…, sftp://…; empty = DATA/replicas")
    replica_sync_ms: int = Field(250, ge=50, le=60_000, description="how often replicas are synced")
    replica_lag_alarm_s: int = Field(30, ge=1, le=86_400, description="a replica so far behind is told of")
    replicated: bool = Field(False, description="Litestream is attached to control.db and owns its checkpoints")
    signup: Literal["open", "closed", "invite"] = Field("open", description="who may sign up")
    signup_per_address_hour: int = Field(20, ge=1, le=100_000, description="sign-ups from one address in an hour")
    signup_per_domain_hour: int = Field(100, ge=1, le=100_000, description="sign-ups of one mail domain in an hour")
    trusted_proxies: tuple[str, ...] = Field((), description="addresses or networks whose X-Forwarded-For is believed")
    held_calls: int = Field(1024, ge=1, le=100_000, description="calls held at once while their tenants wake")
    held_calls_per_tenant: int = Field(64, ge=1, le=100_000, description="of them, of one tenant")
    held_body_bytes: int = Field(64 << 20, ge=1 << 20, description="bytes of their bodies that are read ahead")
    wake_deadline_s: int = Field(30, ge=1, le=600, description="for which a call is held at most")
    tenants_per_account: int = Field(10, ge=1, description="tenants of one account; the operator's has no limit")
    starts_at_once: int = Field(
        0, ge=0, le=10_000, description="instances that start at the same time; 0 = twice the CPUs, at least 4"
    )
    plans: dict[str, PlanSettings] = Field({}, validate_default=True, description="limits by plan name")
    metrics_per_tenant: bool = Field(False, description="metrics with a label for each tenant")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal, else JSON lines")
    events_days: int = Field(90, ge=1, le=3_650, description="how long a tenant's events are kept")
    events_per_tenant: int = Field(10_000, ge=100, le=1_000_000, description="events kept of one tenant at most")
    allow_private_providers: bool = Field(
        False, description="tenants may name providers at private addresses, such as models on your own network"
    )
    reserved_slugs: tuple[str, ...] = Field((), description="slugs nobody gets, beside the built-in ones")
    master_key_file: Path = Field(Path(), description="wraps tenants' secrets; empty = DATA/master.key")

    @field_validator("listen", "edge_listen")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError("must be HOST:PORT, for example 127.0.0.1:4300")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ip_network(each, strict=False)
        return value

    @field_validator("plans", mode="before")
    @classmethod
    def _complete_plans(cls, value: object) -> object:
        return _plans(value) if isinstance(value, dict) else value

    @model_validator(mode="before")
    @classmethod
    def _default_files(cls, value: Any) -> Any:
        data = Path(value["data"]).expanduser().absolute()
        given = {name: each for name, each in value.items() if each not in ("", None)}
        return {"replica_url": str(data / "replicas"), "master_key_file": data / "master.key"} | given | {"data": data}

    @property
    def sqlalchemy_url(self) -> str:
        """URL of the control plane's own database."""
        return self.database_url or f"sqlite:///{self.database_file}"

    @property
    def listen_host(self) -> str:
        """Host part of `listen`."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def listen_port(self) -> int:
        """Port part of `listen`."""
        return int(self.listen.rpartition(":")[2])

    @property
    def path_addresses(self) -> bool:
        """True where tenants are reached by path, `/t/SLUG`: in development only, consoles share an origin there."""
        return self.domain == "localhost"

    def plan(self, name: str) -> Plan:
        """The plan of that name; `free` for one that the operator has since removed."""
        settings = self.plans.get(name) or self.plans["free"]
        return Plan(name=name, **settings.model_dump())

    # Where things lie under DATA.
    @property
    def database_file(self) -> Path:
        return self.data / "control.db"

    @property
    def operator_key_file(self) -> Path:
        return self.data / "operator.key"

    @cached_property
    def tenants_dir(self) -> Path:
        return self.data / "tenants"

    @cached_property
    def run_dir(self) -> Path:
        return self.data / "run"

    @cached_property
    def edge_dir(self) -> Path:
        return self.run_dir / "edge"

    @cached_property
    def sockets_dir(self) -> Path:
        return self.run_dir / "tenants"

    @cached_property
    def secrets_dir(self) -> Path:
        return self.data / "secrets"

    @property
    def replicas_dir(self) -> Path:
        return self.data / "replicas"

    @property
    def logs_dir(self) -> Path:
        return self.data / "logs"

    @property
    def snapshot_dir(self) -> Path:
        return self.run_dir / "snapshot"

    @property
    def activator_socket(self) -> Path:
        return self.run_dir / "activator.sock"

    @property
    def litestream_socket(self) -> Path:
        return self.run_dir / "litestream.sock"

    def tenant_dir(self, slug: str) -> Path:
        return self.tenants_dir / slug

    def socket_dir(self, slug: str) -> Path:
        return self.sockets_dir / slug

    def own_socket(self, slug: str) -> Path:
        return self.sockets_dir.joinpath(slug, "own.sock")

    def edge_socket(self, slug: str) -> Path:
        return self.edge_dir / f"{slug}.sock"

    def instance_file(self, slug: str) -> Path:
        return self.secrets_dir.joinpath(slug, "instance.json")

    def prepare(self) -> None:
        """Make the data folder's layout; folders that hold secrets or sockets are 0700."""
        for folder in (self.data, self.run_dir, self.edge_dir, self.sockets_dir, self.tenants_dir, self.logs_dir):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.data, self.secrets_dir):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)


def data_folder(flags: Mapping[str, Any], env: Mapping[str, str]) -> Path:
    """The data folder by flag, environment, default."""
    given = flags.get("data") or env.get(ENV_PREFIX + "DATA") or "~/.stockyard-cloud"
    return Path(given).expanduser().absolute()


def load_config(flags: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None) -> Config:
    """The configuration in force. Raises ConfigError naming the key, its source and the nearest valid name."""
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    env = os.environ if env is None else env
    data = data_folder(flags, env)
    path = Path(flags.pop("config", None) or env.get(ENV_PREFIX + "CONFIG") or data / "cloud.toml").expanduser()
    values = _from_file(path) | {"data": data}
    _merge(values, _from_environment(env))
    _merge(values, dict(flags) | {"data": data})
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None


def _plans(given: Mapping[str, Any]) -> dict[str, Any]:
    """The built-in plans with the operator's changes laid over them."""
    plans: dict[str, Any] = {}
    for name in {**DEFAULT_PLANS, **given}:
        base = asdict(DEFAULT_PLANS.get(name, DEFAULT_PLANS["free"]))
        del base["name"]
        changes = given.get(name, {})
        if isinstance(changes, PlanSettings):
            plans[name] = changes
            continue
        plans[name] = base | dict(changes) if isinstance(changes, Mapping) else changes
    return plans


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """STOCKYARD_CLOUD_LISTEN=… sets `listen`; STOCKYARD_CLOUD_PLANS_FREE_RPM=… sets `plans.free.rpm`."""
    values: dict[str, Any] = {}
    for variable, text in env.items():
        name = variable.removeprefix(ENV_PREFIX)
        if name == variable or name in ENV_NOT_SETTINGS:
            continue
        key = name.lower()
        if key.startswith("plans_"):
            plan, _, setting = key.removeprefix("plans_").partition("_")
            values.setdefault("plans", {}).setdefault(plan, {})[setting] = text
        elif key in LISTS:
            values[key] = [each.strip() for each in text.split(",") if each.strip()]
        elif key in Config.model_fields:
            values[key] = text
        else:
            raise ConfigError(f"unknown variable {variable}: {nearest(key, sorted(Config.model_fields))}")
    return values


def _merge(values: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay `over` on `values`, table by table."""
    for name, value in over.items():
        if isinstance(value, Mapping) and isinstance(values.get(name), dict):
            _merge(values[name], value)
        else:
            values[name] = value


def _explain(error: ValidationError, path: Path) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        valid = PlanSettings.model_fields if first["loc"][0] == "plans" else Config.model_fields
        return f"unknown key `{where}` in {path}: {nearest(str(first['loc'][-1]), sorted(valid))}"
    return f"`{where}`: {first['msg']} (set in {path}, {ENV_PREFIX}{where.upper().replace('.', '_')} or by a flag)"
