"""A process that has imported everything an instance needs and forks instances on request: `python -m instance.template`.

It speaks over the socket (SOCK_SEQPACKET) that it inherits under the descriptor given as its first argument, and ends when
the other end is closed; what it forked goes on. A second argument, of any text, makes room for its children's command lines. It has no threads, so that a fork is a whole process. It says `ready` once;
each request after that is `{"argv": [...], "env": {...}}` with two descriptors: a gate (a stream socket) and the log. The
child writes its process id to the gate and begins to serve when a byte comes back; if the gate is closed instead, it ends,
so that none runs that its starter did not get to know. Of each child that ended it sends `{"pid": N, "code": N}`, the code
as a shell tells it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

MODULE = "instance.cli"
IMPORTED = (
    "uvloop",
    "uvicorn.lifespan.off",
    "encodings.idna",
    "instance.serve_command",
    "instance.server",
    "instance.core.settings_sources",
)
READY = b"ready"
BEGIN = b"b"
REQUEST_MOST_BYTES = 64 << 10


def prepare() -> None:
    """Import and read what every start of an instance would."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for name in IMPORTED:
        import_module(name)
    from instance.chute.discovery import builtin_migrations, builtin_modules, custom_modules
    from instance.chute.mock_model import MockModel
    from instance.chute.operations import all_operations
    from instance.chute.providers import ProviderTable
    from instance.chute.upstream import Upstream
    from instance.core.clock import Clock

    for _ in (*custom_modules(), *all_operations()):
        pass
    builtin_migrations()
    ProviderTable(Upstream(), MockModel(Clock()), environ={})  # the bundled ones, each URL taken apart
    for module in builtin_modules():
        if module.default_enabled:
            module(module.Settings())  # what it reads and compiles for its usual settings is kept


def serve_forks(control: socket.socket) -> list[str] | None:
    """Fork until the other end is closed: None; in a child, the arguments that it was started with."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    control.send(READY)
    while True:
        readable, _, _ = select.select([control.fileno(), wake_read], [], [])
        if wake_read in readable:
            with suppress(BlockingIOError):
                os.read(wake_read, 4096)
            _report_ended(control)
        if control.fileno() not in readable:
            continue
        try:
            message, descriptors, _, _ = socket.recv_fds(control, REQUEST_MOST_BYTES, 2)
        except ConnectionError:
            return None
        if not message:
            return None
        gate, log = descriptors
        if os.fork() == 0:
            signal.set_wakeup_fd(-1)
            for each in (wake_read, wake_write):
                os.close(each)
            control.close()
            return _become(json.loads(message), socket.socket(fileno=gate), log)
        os.close(gate)
        os.close(log)


def _report_ended(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        notice = json.dumps({"pid": pid, "code": code if code >= 0 else 128 - code}).encode()
        with suppress(BlockingIOError, ConnectionError):
            control.send(notice, socket.MSG_DONTWAIT)


def _become(request: dict[str, Any], gate: socket.socket, log: int) -> list[str]:
    """Make this fork a process of its own: session, environment, streams, signals, command line."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for each in (null, log):
        os.close(each)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.environ.clear()
    os.environ.update(request["env"])
    argv: list[str] = request["argv"]
    _show(argv)
    gate.sendall(b"%d" % os.getpid())
    if gate.recv(1) != BEGIN:
        os._exit(0)
    gate.close()
    return argv


def _show(argv: Sequence[str]) -> None:
    """Put `argv` where `ps` and the control plane look for a process's command line."""
    with suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[45]), int(fields[46])  # arg_start, arg_end: fields 48 and 49 of proc(5)
        text = b"\0".join(map(os.fsencode, argv))
        room = end - begin - 1  # the kernel takes a last byte other than 0 for a sign that it goes on elsewhere
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(begin)
            memory.write(text[:room].ljust(room + 1, b"\0"))


def main() -> int:
    """The exit code: of the template, or of the instance that a child became."""
    gc.disable()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        prepare()
        if len([*Path("/proc/self/task").iterdir()]) > 1:
            print("a module has started a thread while it was imported: no template is made", file=sys.stderr)
            return 1
        gc.collect()
        gc.freeze()  # a collection in a child would otherwise write to, and so copy, every page of it
        argv = serve_forks(control)
    if argv is None:
        return 0
    from instance.cli import main as instance_main

    sys.argv = argv
    return instance_main(argv[argv.index(MODULE) + 1 :])


if __name__ == "__main__":
    sys.exit(main())
