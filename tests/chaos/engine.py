"""A Docker engine of this run's own, in the network namespace that the run lives in, to be killed and restarted at will."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.cloud.service import docker, until

IMAGE = "stockyard-instance:latest"
START_S = 60


class Engine:
    """`dockerd` with live-restore: containers outlive it."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.address = f"unix://{self.folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def with_image() -> str:
        """The folder of a new engine, in it the instances' image of the machine's own."""
        folder = tempfile.mkdtemp(prefix="sye")
        subprocess.run(["docker", "save", "-o", f"{folder}/image.tar", IMAGE], check=True, timeout=300)
        return folder

    def start(self) -> None:
        """Return when it answers. From then on DOCKER_HOST names it, for this process and its children."""
        os.environ["DOCKER_HOST"] = self.address
        self._spawn()
        until(self._answers, "the engine answers", START_S)
        image = self.folder / "image.tar"
        if image.exists():
            docker("load", "-q", "-i", str(image))
            image.unlink()

    def _spawn(self) -> None:
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *("dockerd", "--live-restore", "--bridge", "none", "-H", self.address),
                    *("--data-root", self.folder / "data", "--exec-root", self.folder / "exec"),
                    *("--pidfile", self.folder / "pid"),
                ],
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As the machine's memory manager would end it. Its containerd goes with it, containers do not."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an init ends it before an upgrade."""
        self._end(signal.SIGTERM)

    def remove(self) -> None:
        """End it with all its containers, which only an engine can do."""
        if self._process is None:
            self._spawn()
        until(self._answers, "the engine answers", START_S)
        left = docker("ps", "-aq").split()
        if left:
            docker("rm", "-f", *left)
        self.stop()
        # What it mounted on itself, and would find again.
        subprocess.run(["umount", self.folder / "data"], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: int) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)
        self._process = None
        until(self._containerd_is_gone, "its containerd is gone", START_S)

    def _containerd_is_gone(self) -> bool:
        """A new engine that meets the old one's in its last moments takes it for alive, and waits for it in vain."""
        try:
            pid = int((self.folder / "exec" / "containerd" / "containerd.pid").read_text())
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (OSError, ValueError):
            return True

    def _answers(self) -> bool:
        """Started anew when it ended, as an init does."""
        assert self._process is not None
        if self._process.poll() is not None:
            self._spawn()
        return subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False).returncode == 0
