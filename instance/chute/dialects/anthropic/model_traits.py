"""What the name of a Claude model says about the parameters that it takes.

Source: Anthropic's pages on extended thinking, effort and structured outputs. A name that says nothing gets what every model took
before those: sampling parameters, a thinking budget, a schema by way of a forced tool.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

KNOWN_MAX = 1024

_NEW = re.compile(r"claude-(opus|sonnet|haiku|[a-z]+)-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_OLD = re.compile(r"claude-(\d)(?:[-.](\d))?-(opus|sonnet|haiku)")


class ModelTraits(NamedTuple):
    """`adaptive`: thinks by effort, a budget is refused. `sampling`: takes temperature, top_p and top_k. `schema`: takes a
    JSON schema for its answer and strict tools."""

    adaptive: bool = False
    sampling: bool = True
    schema: bool = False


@lru_cache(maxsize=KNOWN_MAX)
def model_traits(model: str) -> ModelTraits:
    """The traits of a model by its name, in whatever form a provider writes it (`us.anthropic.claude-opus-4-7-v1:0`)."""
    name = model.lower()
    found = _NEW.search(name)
    if found is None or _OLD.search(name) is not None:
        return ModelTraits()
    version = (int(found[2]), int(found[3] or 0))
    return ModelTraits(
        adaptive=version >= (4, 7),
        sampling=version < (4, 7),
        schema=version >= (4, 5) or (found[1] == "opus" and version >= (4, 1)),
    )
