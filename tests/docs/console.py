"""Console blocks as they stand in a page: run command by command in one shell, each output compared with what is shown."""

from __future__ import annotations

import re
import selectors
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import Block

END = "__end_of_output__"
COMMAND_S = 90


@dataclass(frozen=True, slots=True)
class Step:
    """One command and the output that is shown for it; `…` in a line stands for any text, alone for any lines."""

    command: str
    shown: str
    line: int

    def matches(self, output: str) -> bool:
        return re.fullmatch(pattern(self.shown), tidy(output), re.DOTALL) is not None


def steps(block: Block) -> list[Step]:
    """The block's commands: `$ ` begins one, `> ` goes on with it, everything else is output."""
    found: list[tuple[list[str], list[str], int]] = []
    for number, line in enumerate(block.body.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append(([line[2:]], [], number))
        elif line == ">" or (line.startswith("> ") and not found[-1][1]):
            found[-1][0].append(line[2:])
        else:
            found[-1][1].append(line)
    return [Step("\n".join(command), "\n".join(shown), number) for command, shown, number in found]


def tidy(text: str) -> str:
    """Without what the eye does not see: ends of lines, runs of spaces, lines at the end."""
    return "\n".join(re.sub(r"[ \t\r]+", " ", line).rstrip() for line in text.split("\n")).rstrip("\n")


def pattern(shown: str) -> str:
    """The regular expression that output as shown fulfils."""
    lines = []
    for line in tidy(shown).split("\n"):
        if line == "…":
            lines.append("(?:[^\n]*\n)*?")
        else:
            lines.append(re.escape(line).replace("…", "[^\n]*") + "\n")
    return "".join(lines).removesuffix("\n") + "\n*" if lines[-1].endswith("\n") else "".join(lines) + ".*"


class Shell:
    """One shell that goes on from command to command."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, command: str) -> str:
        """What the command prints, both streams; raises `TimeoutError` with what there was."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{command}\nprintf '\\n{END}\\n'\n".encode())
        self._process.stdin.flush()
        output = b""
        deadline = time.monotonic() + COMMAND_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not output.endswith(f"\n{END}\n".encode()):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"{command}\n{output.decode(errors='replace')}")
                block = self._process.stdout.read1(65536)  # type: ignore[attr-defined]
                if not block:
                    raise RuntimeError(f"the shell ended in {command}")
                output += block
        return output.decode().removesuffix(f"\n{END}\n")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
