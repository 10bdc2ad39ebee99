"""Which modules there are: those in this package, and those of other packages by entry point."""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points

import instance.chute.modules as builtin
from instance.chute.module import Module
from instance.chute.order import GROUPS

ENTRY_POINT_GROUP = "stockyard.modules"

log = logging.getLogger("stockyard.modules")


def builtin_modules() -> Iterator[type[Module]]:
    """The classes under `instance/chute/modules/<category>/<module>.py`, one of each file."""
    for category in pkgutil.iter_modules(builtin.__path__):
        if not category.ispkg:
            continue
        package = importlib.import_module(f"{builtin.__name__}.{category.name}")
        for entry in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{entry.name}")
            for _, cls in inspect.getmembers(module, inspect.isclass):
                if (
                    issubclass(cls, Module)
                    and cls is not Module
                    and cls.__module__ == module.__name__
                    and "name" in vars(cls)
                ):
                    yield cls


def custom_modules() -> Iterator[tuple[str, type[Module]]]:
    """Modules of other packages by entry point: `(package, class)`. One that cannot be loaded is logged and left out."""
    for point in entry_points(group=ENTRY_POINT_GROUP):
        package = point.dist.name if point.dist is not None else point.module
        try:
            cls = point.load()
            if not (inspect.isclass(cls) and issubclass(cls, Module)):
                raise TypeError(f"{point.value} is no subclass of instance.chute.module.Module")
            if not 1 <= cls.group <= len(GROUPS):
                raise TypeError(f"{cls.name}: group must be 1 to {len(GROUPS)}")
        except Exception:  # a broken package of somebody else's must not keep the proxy from starting; the log names it
            log.exception("custom module %s of %s was not loaded", point.name, package)
            continue
        yield package, cls
