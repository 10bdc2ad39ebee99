"""trustenforce: applies the policies of the Trust app, from the next call on after they were saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.brand.policies import Policies
    from instance.chute.modules.trust.policy_enforcement import PolicyEnforcement
    from instance.core.core import Core

NONE: frozenset[int] = frozenset()


class TrustEnforce(Module):
    """All policies that are for a call are evaluated, each that it meets is recorded, and the strictest action is taken.

    Without a policy the module has no hook. It is built anew, with the set that is then in force, whenever that changes.
    """

    name: ClassVar[str] = "trustenforce"
    category: ClassVar[str] = "core"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Applies the policies of the Trust app"
    rejects: ClassVar[tuple[str, ...]] = ("policy_blocked", "approval_required", "approval_denied", "approval_mismatch")
    default_enabled: ClassVar[bool] = True
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    safety: ClassVar[bool] = True
    tick_s: ClassVar[float] = 3600.0

    class Settings(ModuleSettings):
        max_patterns: int = Field(default=200, ge=0, le=10_000, description="Most patterns of all policies together.")
        replace_text: str = Field(
            default="[removed by policy]",
            max_length=200,
            description="What stands in place of redacted text where the policy says nothing else.",
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._policies: Policies
        self._enforcement: PolicyEnforcement | None = None
        """`None`: there is no policy."""

    async def start(self, core: Core, previous: Module | None) -> None:
        self._policies = core.services["brand"].policies
        await self._policies.load()
        current = self._policies.current
        if not current:
            return
        count = sum(len(policy.conditions.patterns) for policy in current)
        if count > self.settings.max_patterns:
            raise StockyardError(
                "invalid_value", f"The policies have {count} patterns already.", param="config.max_patterns"
            )
        # Loaded with the first policy: most instances have none, and a start waits for every import.
        from instance.chute.modules.trust.policy_enforcement import PolicyEnforcement

        self._enforcement = PolicyEnforcement(core, self._policies, self.settings.replace_text)

    def patterns(self) -> Sequence[str]:
        return self._enforcement.set.request_patterns if self._enforcement is not None else ()

    def answer_patterns(self) -> Sequence[str]:
        return ()

    def hooks(self) -> tuple[str, ...]:
        return self._enforcement.hooks if self._enforcement is not None else ()

    def report(self) -> dict[str, Any]:
        count = len(self._enforcement.set.policies) if self._enforcement is not None else 0
        return {"policies": count, "set_version": self._policies.version}

    async def tick(self) -> None:
        await self._policies.keep_house()

    def on_request(self, x: Exchange) -> None:
        assert self._enforcement is not None
        self._enforcement.on_request(x, x.hits(self) if self._enforcement.set.request_patterns else NONE)

    def passes(self, x: Exchange) -> bool:
        return self._enforcement is None or self._enforcement.passes(x)

    async def around(self, x: Exchange, call: Call) -> Answer:
        assert self._enforcement is not None
        return await self._enforcement.around(x, call)

    def on_response(self, x: Exchange, answer: Answer) -> None:
        assert self._enforcement is not None
        self._enforcement.on_response(x, answer)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        assert self._enforcement is not None
        self._enforcement.on_delta(x, delta)
