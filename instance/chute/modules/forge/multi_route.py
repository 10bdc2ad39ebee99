"""A route of multicall: which targets are asked together, and which answer is delivered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

PREFIX = "multi:"
TARGETS_MAX = 8
Strategy = Literal["fastest", "cheapest", "longest", "shortest", "consensus", "judge", "merge", "all"]


class MultiRoute(BaseModel):
    """Which targets are asked together, and which answer is delivered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1, max_length=100, description="Asked for as model multi:NAME or by X-Stockyard-Route."
    )
    match: str = Field(
        default="", max_length=200, description="Glob of asked models that take this route; empty: none."
    )
    targets: list[str] = Field(min_length=2, max_length=TARGETS_MAX, description="Models as provider/model, 2 to 8.")
    strategy: Strategy = Field(
        default="fastest",
        description="fastest, cheapest, longest or shortest acceptable answer; consensus: what most say; judge: a model picks; "
        "merge: a model writes one of all; all: each as a choice of its own.",
    )
    quorum: int = Field(default=0, ge=0, le=TARGETS_MAX, description="Acceptable answers to decide with; 0: all.")
    wait_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Seconds after the first acceptable answer in which others are waited for.",
    )
    judge_model: str = Field(
        default="", max_length=200, description="Model that judges or merges; empty: the first target."
    )
    on_disagree: Literal["deliver", "flag", "reject"] = Field(
        default="flag", description="What happens below min_agreement: delivered, delivered and flagged, or 422."
    )
    min_agreement: float = Field(default=0.5, ge=0, le=1, description="Agreement from which a consensus is one.")
    similarity: Literal["auto", "lexical", "embedder"] = Field(
        default="auto",
        description="How prose is compared: embedder by its meaning, which needs the extra stockyard[semantic]; lexical by shared "
        "words and pairs of words; auto by meaning where the extra is installed.",
    )

    @field_validator("targets")
    @classmethod
    def _named_whole(cls, targets: list[str]) -> list[str]:
        for target in targets:
            if target.startswith(PREFIX):
                raise ValueError(f"{target!r} is a route; a target is provider/model")
        return targets
