"""The script of the page on mock providers prints what the page says it does."""

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import FENCE, ROOT, blocks

PAGE = ROOT / "docs" / "mock-providers.md"


def test_the_script_prints_what_is_shown(tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "file: bad_day.py")
    script = tmp_path / "bad_day.py"
    script.write_text(block.body)
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, cwd=ROOT)
    text = PAGE.read_text()
    shown = FENCE.search(text, text.index(block.body) + len(block.body) + 4)
    assert shown is not None
    assert (ran.stdout, ran.stderr) == (shown["body"], "")


def test_the_scripts_that_the_page_names_exist() -> None:
    from instance.mock_upstream import replies

    prose = FENCE.sub("", PAGE.read_text())
    named = set(re.findall(r"`([a-z]+)\([^`]*\)`", prose)) - {"script"}
    assert {name for name in named if not callable(getattr(replies, name, None))} == set()
