"""`provider/model` as settings write it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from instance.chute.routes import split_target


def _checked(label: str) -> str:
    provider, model = split_target(label)
    return f"{provider}/{model}"


TargetLabel = Annotated[str, AfterValidator(_checked), Field(max_length=300)]
"""The label of one target; refused unless it has a provider and a model."""
