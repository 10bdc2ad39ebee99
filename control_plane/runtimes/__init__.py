"""Engines that run instances: one protocol, chosen by the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from control_plane.runtimes.protocol import EngineError, Runtime

if TYPE_CHECKING:
    from control_plane.config import Config

CONTAINER_USER = 10001


def open_runtime(config: Config) -> Runtime:
    """The configured engine; raises `EngineError` for one that there is not."""
    if config.runtime == "process":
        from control_plane.runtimes.process import CODE_ROOT, ProcessRuntime
        from control_plane.runtimes.template import Template

        return ProcessRuntime(
            records=config.run_dir / "instances",
            logs=config.logs_dir / "instances",
            template=Template(CODE_ROOT, config.logs_dir / "template.log"),
        )
    if config.runtime == "docker":
        from control_plane.runtimes.docker import DockerRuntime

        return DockerRuntime(owner=str(config.data))
    raise EngineError(f"there is no runtime {config.runtime!r} yet; use 'process' or 'docker'")


def instance_owner(config: Config) -> int | None:
    """The user id under which instances see their volume; None for the control plane's own."""
    return CONTAINER_USER if config.runtime == "docker" else None
