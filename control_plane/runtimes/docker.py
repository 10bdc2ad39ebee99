"""Instances as hardened containers of the machine's Docker engine, one per tenant.

A container gets its data folder, its socket folder and its instance file, and nothing else of the machine: read-only
root, no capabilities, no new privileges, a user of its own, limits, no published port. Containers are told by labels,
so that one call lists them all; they are made anew at each start, so that none outlives its spec.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import docker
import docker.errors
import requests.exceptions

from control_plane.runtimes import CONTAINER_USER, docker_network
from control_plane.runtimes.log_file import shown
from control_plane.runtimes.protocol import FOLLOW_POLL_S, EngineError, InstanceSpec, Observed, RunState, StopFailed

DATA = "/data"
SOCKETS = "/run/stockyard"
INSTANCE_FILE = "/etc/stockyard/instance.json"
ENTRYPOINT = "stockyard"
LABEL = "stockyard."
TMP_MB = 128  # the model that tells languages apart is unpacked in it; what is in it counts as memory
THREADS = 16
ANSWER_S = 60
STATES = {"running": RunState.RUNNING, "paused": RunState.PAUSED, "restarting": RunState.STARTING}
EXIT_CODE = re.compile(r"Exited \((-?\d+)\)")
T = TypeVar("T")


class DockerRuntime:
    """`Runtime` on the Docker engine of `DOCKER_HOST`, else of /var/run/docker.sock.

    `owner` names the control plane: it sees and touches only containers that carry it.
    """

    def __init__(self, *, owner: str, entrypoint: str = ENTRYPOINT) -> None:
        self._owner = owner
        self._entrypoint = entrypoint
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._local = threading.local()

    async def prepare(self) -> None:
        """The shared network and the firewall rules in force; raises `EngineError` if they cannot be."""
        await self._call(docker_network.ensure_network)
        await docker_network.ensure_rules()

    async def observe(self, name: str | None = None) -> list[Observed]:
        """One listing by label."""
        return [_observed(each) for each in await self._call(lambda api: self._list(api, name))]

    async def start(self, spec: InstanceSpec) -> None:
        """Make a container and start it; an ended one is replaced."""
        await self._call(lambda api: self._start(api, spec))

    async def pause(self, name: str) -> None:
        """Freeze its cgroup."""
        await self._call(lambda api: self._switch(api, name, RunState.RUNNING, api.pause))

    async def resume(self, name: str) -> None:
        """Unfreeze it."""
        await self._call(lambda api: self._switch(api, name, RunState.PAUSED, api.unpause))

    async def stop(self, name: str, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace; a frozen one is unfrozen for it."""
        await self._call(lambda api: self._stop(api, name, grace_s))

    async def remove(self, name: str) -> None:
        """Remove the ended container."""
        await self._call(lambda api: self._remove(api, name))

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """From the engine, asked again and again while it is followed: no thread waits for what may never come."""
        after = ""
        wanted: int | str = lines
        while True:
            said = await self._call(lambda api, after=after, wanted=wanted: self._log(api, name, after, wanted))  # type: ignore[misc]
            for stamp, line in said:
                after = stamp
                yield line
            if not follow:
                return
            wanted = "all" if after else lines
            await asyncio.sleep(FOLLOW_POLL_S)

    # --- in a thread ----------------------------------------------------------------------------------------------------

    async def _call(self, work: Callable[[Any], T]) -> T:
        def run() -> T:
            try:
                return work(self._api())
            except docker.errors.ImageNotFound as error:
                message = f"there is no image for it ({error.explanation}); build it with `make image`"
                raise EngineError(message) from None
            except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
                raise EngineError(f"Docker: {_said(error)}") from None

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def _api(self) -> Any:
        """A client for each thread: its connections are not shared."""
        if not hasattr(self._local, "api"):
            self._local.api = docker.from_env(timeout=ANSWER_S).api
        return self._local.api

    def _list(self, api: Any, name: str | None) -> list[dict[str, Any]]:
        labels = [f"{LABEL}owner={self._owner}"] + ([f"{LABEL}slug={name}"] if name is not None else [])
        found: list[dict[str, Any]] = api.containers(all=True, filters={"label": labels})
        return found

    def _one(self, api: Any, name: str) -> tuple[str, RunState] | None:
        found = self._list(api, name)
        return (found[0]["Id"], _state(found[0])) if found else None

    def _start(self, api: Any, spec: InstanceSpec) -> None:
        for found in self._list(api, spec.name):
            seen = _observed(found)
            if not seen.alive:
                _gone(api.remove_container, found["Id"], force=True)
            elif (seen.revision, seen.epoch) == (spec.revision, spec.epoch):
                return
            else:
                raise EngineError(f"{spec.name} runs already, under another revision or epoch")
        made = api.create_container(
            image=spec.image,
            name=self._container_name(spec.name),
            entrypoint=[self._entrypoint],
            command=["serve", "--uds", f"{SOCKETS}/own.sock", "--data", DATA],
            user=f"{CONTAINER_USER}:{CONTAINER_USER}",
            hostname=spec.name,
            working_dir=DATA,
            environment={"STOCKYARD_DATA": DATA, "STOCKYARD_INSTANCE_FILE": INSTANCE_FILE, **spec.env},
            labels=self._labels(spec),
            host_config=_host_config(api, spec),
        )
        api.start(made["Id"])

    def _switch(self, api: Any, name: str, when: RunState, change: Callable[[str], None]) -> None:
        found = self._one(api, name)
        if found is None or found[1] is RunState.EXITED:
            raise EngineError(f"{name} does not run")
        if found[1] is when:
            change(found[0])

    def _stop(self, api: Any, name: str, grace_s: float) -> None:
        found = self._one(api, name)
        if found is None or found[1] is RunState.EXITED:
            return
        if found[1] is RunState.PAUSED:
            api.unpause(found[0])
        _gone(api.stop, found[0], timeout=max(1, round(grace_s)))
        left = self._one(api, name)
        if left is not None and left[1] is not RunState.EXITED:
            raise StopFailed(f"container {found[0][:12]} of {name} is still {left[1]}")

    def _log(self, api: Any, name: str, after: str, wanted: int | str) -> list[tuple[str, str]]:
        """Lines written later than `after`, each with its time as the engine writes it, which sorts as text."""
        found = self._list(api, name)
        if not found:
            return []
        since = datetime.fromisoformat(after[:19] + "+00:00") if after else None
        content: bytes = api.logs(found[0]["Id"], timestamps=True, tail=wanted, since=since)
        stamped = [shown(each).partition(" ") for each in content.splitlines()]
        return [(stamp, line) for stamp, _, line in stamped if stamp > after]

    def _remove(self, api: Any, name: str) -> None:
        for found in self._list(api, name):
            if _state(found) is not RunState.EXITED:
                raise EngineError(f"{name} runs; stop it first")
            _gone(api.remove_container, found["Id"])

    def _labels(self, spec: InstanceSpec) -> dict[str, str]:
        values = {"owner": self._owner, "slug": spec.name, "epoch": str(spec.epoch), "revision": spec.revision}
        return {LABEL + name: value for name, value in values.items()}

    def _container_name(self, slug: str) -> str:
        """Unique on the machine, which may carry more than one control plane."""
        return f"stockyard-{slug}-{hashlib.sha256(self._owner.encode()).hexdigest()[:6]}"


def _host_config(api: Any, spec: InstanceSpec) -> Any:
    memory = spec.memory_mb << 20
    return api.create_host_config(
        binds={
            str(spec.data_dir): {"bind": DATA, "mode": "rw"},
            str(spec.socket_dir): {"bind": SOCKETS, "mode": "rw"},
            str(spec.instance_file): {"bind": INSTANCE_FILE, "mode": "ro"},
        },
        network_mode=docker_network.NETWORK,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs={"/tmp": f"rw,noexec,nosuid,nodev,size={TMP_MB}m"},
        mem_limit=memory,
        memswap_limit=memory,
        nano_cpus=round(spec.cpus * 1e9),
        pids_limit=spec.pids,
        log_config={"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}},
    )


def _observed(found: dict[str, Any]) -> Observed:
    labels = found.get("Labels") or {}
    code = EXIT_CODE.match(found.get("Status", ""))
    return Observed(
        name=labels[LABEL + "slug"],
        state=_state(found),
        epoch=int(labels.get(LABEL + "epoch", 0)),
        revision=labels.get(LABEL + "revision", ""),
        image=found.get("Image", ""),
        run_id=found["Id"],
        started_at=float(found.get("Created", 0)),
        exit_code=int(code[1]) if code else None,
    )


def _state(found: dict[str, Any]) -> RunState:
    """One that was only created has never run, which is as good as ended: the next start replaces it."""
    return STATES.get(found["State"], RunState.EXITED)


def _gone(work: Callable[..., None], container: str, **how: Any) -> None:
    """Do it; what is gone already needs no ending."""
    try:
        work(container, **how)
    except docker.errors.NotFound:
        pass


def _said(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)
