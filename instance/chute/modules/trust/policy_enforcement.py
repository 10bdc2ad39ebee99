"""Policies on one call after another: what each meets is recorded, and the strictest action is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from instance.brand.policy import Policy
from instance.chute.answer import Answer, Delta
from instance.chute.call_identity import key_id
from instance.chute.exchange import Exchange
from instance.chute.held_texts import HeldTexts
from instance.chute.modules.trust.policy_set import Found, PolicySet, Sought, limits_targets, redacts, refuses
from instance.chute.modules.trust.policy_stream import PolicyText
from instance.chute.text import answer_texts, rewrite_answer, rewrite_request
from instance.chute.worst_case import worst_case_of_all_nano
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.brand.policies import Policies
    from instance.chute.module import Call
    from instance.chute.targets import Target
    from instance.core.core import Core

MODULE = "trustenforce"
SEPARATOR = "\n\0\n"


class _Under:
    """The policies that are for one call, and what came of them so far."""

    __slots__ = ("approvals", "checked", "noted", "scoped", "texts")

    def __init__(self, scoped: list[Policy]) -> None:
        self.scoped = scoped
        self.approvals: list[Found] = []
        self.checked: Target | None = None
        self.noted: set[tuple[str, str]] = set()
        self.texts: HeldTexts | None = None


class PolicyEnforcement:
    """The hooks of trustenforce for one set of policies. Immutable but for what a call leaves in `x.state`."""

    def __init__(self, core: Core, policies: Policies, replace_text: str) -> None:
        self._core = core
        self._policies = policies
        self._replace_text = replace_text
        self.set = PolicySet(policies.current)

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks that the set needs."""
        if not self.set.policies:
            return ()
        around = ("around",) if self.set.asks_target or self.set.asks_approval else ()
        answers = ("on_response", "on_delta") if self.set.reads_answers else ()
        return ("on_request", *around, *answers)

    def on_request(self, x: Exchange, hits: frozenset[int]) -> None:
        scoped = self.set.scoped(x)
        if not scoped:
            return
        under = x.state["trustenforce"] = _Under(scoped)
        self._narrow(x, under)
        found = self.set.met_by_request(x, scoped, hits)
        if found:
            self._act(x, under, found, "request")
            redactions = self.set.redactions([each for each in found if redacts(each)])
            if redactions:
                self._redact_request(x, redactions)

    def passes(self, x: Exchange) -> bool:
        under: _Under | None = x.state.get("trustenforce")
        return under is None or not (self.set.asks_target or under.approvals)

    async def around(self, x: Exchange, call: Call) -> Answer:
        under: _Under = x.state["trustenforce"]
        under.checked = x.targets[0] if x.targets else None
        self._check_target(x, under)
        if under.approvals:
            await self._approved(x, under.approvals[0].policy)
        answer = await call(x)
        if answer.target is not None and answer.target is not under.checked:
            self._check_served(x, under, answer.target)
        return answer

    def on_response(self, x: Exchange, answer: Answer) -> None:
        under: _Under | None = x.state.get("trustenforce")
        obj = answer.obj
        if under is None or obj is None:
            return
        sought = self.set.in_answer(SEPARATOR.join(answer_texts(obj)), under.scoped)
        if not sought:
            return
        found = [Found(each.policy, f"answer matches {each.source}") for each in sought]
        self._act(x, under, found, "answer")
        taken_out = [each for each, met in zip(sought, found, strict=True) if redacts(met)]
        if taken_out:
            answer.obj = rewrite_answer(obj, lambda text, place: self._redacted(text, taken_out))
            answer.changed = x.state["redacted"] = True

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        under: _Under | None = x.state.get("trustenforce")
        if under is None:
            return
        if under.texts is None:
            under.texts = self._texts(x, under)
        under.texts.take(delta)

    def _texts(self, x: Exchange, under: _Under) -> HeldTexts:
        holds = self.set.holds_answers(under.scoped)

        def decide(sought: Sought) -> str | None:
            found = Found(sought.policy, f"answer matches {sought.source}")
            self._act(x, under, [found], "answer")
            if not redacts(found):
                return None
            x.state["redacted"] = True
            return self._replacement(sought.policy)

        return HeldTexts(lambda place: PolicyText(self.set, under.scoped, decide, holds=holds), x, x.current_module)

    def _narrow(self, x: Exchange, under: _Under) -> None:
        """Keep the call from targets that a policy refuses, also from those that are added later."""
        binding = [policy for policy in under.scoped if limits_targets(policy)]
        if not binding:
            return
        x.allow.append(lambda target: not any(refuses(policy, target) for policy in binding))
        if not x.targets:
            return
        kept = [target for target in x.targets if not any(refuses(policy, target) for policy in binding)]
        if not kept:
            first = x.targets[0]
            met = [Found(policy, why) for policy in binding if (why := refuses(policy, first))]
            self._act(x, under, met, "request")
        if len(kept) < len(x.targets):
            x.note("narrow", {"dropped": [target.label for target in x.targets if target not in kept]})
            x.targets = kept

    def _check_target(self, x: Exchange, under: _Under) -> None:
        def cost_nano() -> int:
            return worst_case_of_all_nano(x, self._core.services)[0]

        found = self.set.met_by_target(x, under.scoped, cost_nano)
        if found:
            self._act(x, under, found, "request")

    def _check_served(self, x: Exchange, under: _Under, served: Target) -> None:
        """Another target answered than was chosen: what only watches is told."""
        watching = [policy for policy in under.scoped if policy.action in ("warn", "log") or policy.dry_run]
        found = [Found(policy, why) for policy in watching if (why := refuses(policy, served))]
        if found:
            self._act(x, under, found, "answer")

    def _act(self, x: Exchange, under: _Under, found: Sequence[Found], what: str) -> None:
        """Record what was met, and take the strictest action: refuse, wait for approval, warn; texts are the caller's to redact."""
        for each in found:
            self._record(x, under, each)
        strictest = max(found, key=lambda each: each.rank)
        if strictest.rank < 0:
            return
        action = strictest.policy.action
        if action == "block" or (action == "require_approval" and what == "answer"):
            raise _blocked(strictest, what)
        for each in found:
            if each.rank < 0:
                continue
            if each.policy.action == "require_approval":
                under.approvals.append(each)
            elif each.policy.action == "warn":
                x.warnings.append(each.policy.message or f"policy {each.policy.name}")

    def _record(self, x: Exchange, under: _Under, found: Found) -> None:
        """Put it into the trail, the ledger and the list of violations; each condition once a call."""
        policy = found.policy
        if (policy.id, found.condition) in under.noted:
            return
        under.noted.add((policy.id, found.condition))
        detail = {
            "name": policy.name,
            "version": policy.version,
            "condition": found.condition,
            "action": policy.action,
            "dry_run": policy.dry_run,
        }
        x.note("policy", detail, module=MODULE)
        if x.dry:
            return
        self._policies.met(
            {
                **detail,
                "policy_id": policy.id,
                "trace_id": x.id,
                "key_id": key_id(x),
                "team_id": x.team,
                "model": x.model_requested,
                "created_at_ns": self._core.clock.wall_ns(),
            }
        )

    async def _approved(self, x: Exchange, policy: Policy) -> None:
        """Return when people approved the call; raise what approvalgate refuses it with. Without that module it is refused."""
        slot = self._core.services["registry"].slots.get("approvalgate")
        if slot is None or slot.running is None:
            raise _blocked(Found(policy, "approval is needed, and approvalgate is off"), "request")
        await slot.running.demand(x, f"policy {policy.name}")

    def _redact_request(self, x: Exchange, patterns: Sequence[Sought]) -> None:
        redacted = rewrite_request(x.req, lambda text, place: self._redacted(text, patterns))
        if redacted is not x.req:
            x.req = redacted
            x.stored_request = orjson.dumps(redacted)
            x.change()

    def _redacted(self, text: str, patterns: Sequence[Sought]) -> str:
        for sought in patterns:
            spans = [(match.start(), match.end()) for match in sought.expression.finditer(text)]
            becomes = self._replacement(sought.policy)
            for start, stop in reversed(spans):
                if stop > start:
                    text = text[:start] + becomes + text[stop:]
        return text

    def _replacement(self, policy: Policy) -> str:
        return policy.replacement or self._replace_text


def _blocked(found: Found, what: str) -> StockyardError:
    policy = found.policy
    shown = "" if " matches " in found.condition else f": {found.condition}"
    return StockyardError(
        "policy_blocked",
        policy.message or f"The policy {policy.name!r} refuses the {what}{shown}.",
        details=[{"policy": policy.name, "version": policy.version}],
        retryable=False,
    )
