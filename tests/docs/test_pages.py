"""What every page keeps to: links that lead somewhere, and nothing of one machine."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, links, pages

FORBIDDEN = re.compile(
    r"/home/\w|/root/|/work/|/tmp/|/Users/|ghp_|TODO|FIXME|\bTBD\b|as an AI|language model assistant", re.IGNORECASE
)

each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_no_link_is_dead(page: Path) -> None:
    dead = []
    for target in links(page):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and linked.suffix == ".md" and anchor not in anchors(linked)):
            dead.append(target)
    assert dead == []


@each_page
def test_nothing_of_one_machine_and_nothing_unfinished_is_on_a_page(page: Path) -> None:
    assert [match[0] for match in FORBIDDEN.finditer(page.read_text())] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = ((page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link)
        ahead += [target for target in targets if target.suffix == ".md" and target.exists()]
    assert set(pages()) - reached == set()


def test_the_lines_of_commands_in_the_pages_name_verbs_that_exist() -> None:
    from typer.main import get_command

    from control_plane.cli import app
    from instance.commands.verbs import application

    verbs = {"stockyard": get_command(application), "stockyard-cloud": get_command(app)}
    unknown = []
    for page in pages():
        for name, first, second in re.findall(
            r"^(?:\$ )?(stockyard(?:-cloud)?) ([a-z][a-z-]*) ?([a-z|]*)", page.read_text(), re.M
        ):
            command = getattr(verbs[name], "commands", {}).get(first)
            below = getattr(command, "commands", None)
            if command is None or (below is not None and any(verb not in below for verb in second.split("|"))):
                unknown.append(f"{page.name}: {name} {first} {second}")
    assert unknown == []
