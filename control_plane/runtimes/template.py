"""The process from which instances are forked (`instance.template`): kept by the control plane, and never relied upon.

A start of Python that imports an instance costs a third of a second of a core; a fork of one that has done so, a fraction
of that, and its unchanged pages are shared. Whatever is wrong with the template, `fork` says so before anything was
started, and the caller spawns instead. It belongs to one control plane: it ends with it, and the instances go on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

MODULE = "instance.template"
READY, BEGIN = b"ready", b"b"
ROOM_BYTES = 1024  # of the template's command line are left for those of the instances
ANSWER_S = 5.0  # a template that does not fork within this is given up
AGAIN_S = 10.0  # between two attempts to have one
NOTICE_BYTES = 4096
CODES_REMEMBERED = 1024
CHECK_CODE_S = 1.0


class NoTemplate(Exception):
    """No process was made this way."""


class Template:
    """One at a time; it is made anew when it ended or when the code that it has imported is no longer what is there."""

    def __init__(self, code: Path, log_file: Path) -> None:
        self._code = code
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False
        self._version: object = None
        self._tried_at = -AGAIN_S
        self._checked_at = 0.0
        self._codes: OrderedDict[int, int] = OrderedDict()

    def keep(self) -> None:
        """See to it that there is one, soon: it needs a moment to import everything."""
        now = asyncio.get_running_loop().time()
        self._read_notices()
        if self._process is not None and now - self._checked_at >= CHECK_CODE_S:
            self._checked_at = now
            if _version_of(self._code) != self._version:
                log.info("the code has changed: the template is made anew")
                self.end()
                self._tried_at = now - AGAIN_S
        if self._process is None and now - self._tried_at >= AGAIN_S:
            self._tried_at = self._checked_at = now
            self._make()

    def end(self) -> None:
        """End it; what it forked goes on."""
        if self._process is None or self._control is None:
            return
        self._read_notices()
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._process, self._control, self._ready = None, None, False

    def exit_code(self, pid: int) -> int | None:
        """How a process that was forked here ended, as a shell tells it; None if that is not known."""
        self._read_notices()
        return self._codes.get(pid)

    async def fork(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        log_descriptor: int,
        note: Callable[[int], None],
    ) -> None:
        """Have an instance forked; it begins after `note` has written down its process id.

        Raises `NoTemplate` when there is none ready; nothing runs then.
        """
        self.keep()
        if self._control is None or not self._ready:
            raise NoTemplate("none is ready")
        gate, theirs = socket.socketpair()
        with gate:
            with theirs:
                request = json.dumps({"argv": list(argv), "env": dict(environment)}).encode()
                try:
                    socket.send_fds(self._control, [request], [theirs.fileno(), log_descriptor])
                except OSError as error:  # gone, or its queue is full: it does not take what it is sent
                    self.end()
                    raise NoTemplate(str(error)) from None
            pid = await self._answer(gate)
            self._codes.pop(pid, None)  # of an earlier process with this id
            note(pid)
            with suppress(OSError):  # it was killed already; whoever observes it sees that
                gate.send(BEGIN)

    async def _answer(self, gate: socket.socket) -> int:
        gate.setblocking(False)
        try:
            async with asyncio.timeout(ANSWER_S):
                said = await asyncio.get_running_loop().sock_recv(gate, 32)
        except (TimeoutError, OSError) as error:
            said, why = b"", type(error).__name__
        else:
            why = "the gate was closed"
        if not said.isdigit():
            self.end()  # a child that comes later finds its gate closed, and ends
            raise NoTemplate(why)
        return int(said)

    def _make(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._version = _version_of(self._code)
        command = [sys.executable, "-P", "-m", MODULE, str(theirs.fileno()), " " * ROOM_BYTES]
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": str(self._code)}
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with theirs, self._log_file.open("ab") as log_file:
            try:
                self._process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                log.warning("no template: %s", error)
                return
        self._control, self._ready = ours, False

    def _read_notices(self) -> None:
        """Take what it has sent; note its end."""
        while self._control is not None:
            try:
                said = self._control.recv(NOTICE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                said = b""
            if not said:
                self._control.close()
                if self._process is not None:
                    self._process.kill()
                    log.warning("the template ended (exit code %s); instances are spawned", self._process.wait())
                self._process, self._control, self._ready = None, None, False
            elif said == READY:
                self._ready = True
            else:
                notice = json.loads(said)
                self._codes[notice["pid"]] = notice["code"]
                while len(self._codes) > CODES_REMEMBERED:
                    self._codes.popitem(last=False)


def _version_of(code: Path) -> object:
    """Another one after every change of the instance's files."""
    return hash(
        tuple(
            (entry.path, found.st_mtime_ns, found.st_size, found.st_ino)
            for folder, _, _ in os.walk(code / "instance")
            if not folder.endswith("__pycache__")
            for entry in os.scandir(folder)
            if entry.is_file() and not entry.name.endswith(".pyc")
            for found in (entry.stat(),)
        )
    )
