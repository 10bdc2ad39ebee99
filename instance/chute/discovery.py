"""Which modules there are: those in this package, and those of other packages by entry point."""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import instance.chute.modules as builtin
from instance.chute.module import API_VERSIONS_RUN, Module
from instance.chute.order import GROUPS, PLACE

ENTRY_POINT_GROUP = "stockyard.modules"

log = logging.getLogger("stockyard.modules")


@cache
def builtin_names() -> dict[str, Path]:
    """The modules of this package by name, each with its file; nothing is imported for it.

    A module's file is named for it, as `order.py` has it; other files in a category's folder are parts of modules.
    """
    root = Path(builtin.__path__[0])
    return {path.stem: path for path in sorted(root.glob("*/*.py")) if path.stem in PLACE}


@cache
def builtin_module(name: str) -> type[Module]:
    """The class of a module of this package, imported now."""
    path = builtin_names()[name]
    imported = importlib.import_module(f"{builtin.__name__}.{path.parent.name}.{name}")
    for _, cls in inspect.getmembers(imported, inspect.isclass):
        if issubclass(cls, Module) and cls.__module__ == imported.__name__ and vars(cls).get("name") == name:
            return cls
    raise TypeError(f"{path} has no module named {name}")


def builtin_modules() -> Iterator[type[Module]]:
    """Every class of this package, all imported."""
    for name in builtin_names():
        yield builtin_module(name)


@cache
def builtin_migrations() -> tuple[tuple[str, Path], ...]:
    """The folders of migrations of this package's modules, by name: `NAME_migrations` beside the module."""
    folders = ((name, path.with_name(f"{name}_migrations")) for name, path in builtin_names().items())
    return tuple((name, folder) for name, folder in folders if folder.is_dir())


@cache
def custom_modules() -> tuple[tuple[str, type[Module]], ...]:
    """Modules of other packages by entry point: `(package, class)`. One that cannot be loaded is logged and left out.

    Looked for once a process: to read what every installed package declares takes longer than to start the modules.
    """
    return tuple(_loaded_entry_points())


def _loaded_entry_points() -> Iterator[tuple[str, type[Module]]]:
    for point in entry_points(group=ENTRY_POINT_GROUP):
        package = point.dist.name if point.dist is not None else point.module
        try:
            cls = point.load()
            if not (inspect.isclass(cls) and issubclass(cls, Module)):
                raise TypeError(f"{point.value} is no subclass of instance.chute.module.Module")
            if cls.api_version not in API_VERSIONS_RUN:
                runs = ", ".join(map(str, sorted(API_VERSIONS_RUN)))
                raise TypeError(f"{cls.name}: written for version {cls.api_version} of the hooks; here runs {runs}")
            if not 1 <= cls.group <= len(GROUPS):
                raise TypeError(f"{cls.name}: group must be 1 to {len(GROUPS)}")
        except Exception:  # a broken package of somebody else's must not keep the proxy from starting; the log names it
            log.exception("custom module %s of %s was not loaded", point.name, package)
            continue
        yield package, cls
