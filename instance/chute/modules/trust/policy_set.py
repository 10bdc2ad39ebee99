"""The policies in force, made ready for calls: what is looked for where, and which conditions a call meets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.brand.policy import STRICTNESS, Names, Policy, compiled
from instance.chute.call_identity import key_id
from instance.chute.matcher import Matcher
from instance.chute.modules.cost.needed_abilities import needed
from instance.chute.tokens import count_prompt_tokens
from instance.core.money import usd_to_nano

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.targets import Target

DATA_CLASS = "data_class"


class Found(NamedTuple):
    """A policy that a call meets, and by which of its conditions."""

    policy: Policy
    condition: str

    @property
    def rank(self) -> int:
        """How strict what happens is; a dry run does nothing."""
        return -1 if self.policy.dry_run else STRICTNESS.index(self.policy.action)


class Sought(NamedTuple):
    """A pattern of a policy."""

    policy: Policy
    source: str
    expression: Any


class PolicySet:
    """Immutable. Indexes of `request_patterns` are those of the shared matcher."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = [each for each in policies if each.enabled and each.action != "retention"]
        self._requests: list[Sought] = []
        self._answers: list[Sought] = []
        self._models: list[Sought] = []
        for policy in self.policies:
            for pattern in policy.conditions.patterns:
                sought = Sought(policy, pattern.pattern, compiled(pattern.pattern))
                if pattern.on in ("request", "both"):
                    self._requests.append(sought)
                if pattern.on in ("response", "both"):
                    self._answers.append(sought)
                if pattern.on == "model":
                    self._models.append(sought)
        self._answer_matcher = Matcher([("", [sought.source for sought in self._answers])])
        self._plain = [each for each in self.policies if _has_plain_conditions(each)]
        self.asks_target = any(each.conditions.max_cost_usd or _binds(each) for each in self.policies)
        self.asks_approval = any(each.action == "require_approval" for each in self.policies)

    @property
    def request_patterns(self) -> list[str]:
        return [sought.source for sought in self._requests]

    @property
    def reads_answers(self) -> bool:
        return bool(self._answers)

    def holds_answers(self, scoped: Sequence[Policy]) -> bool:
        """Whether a stream must be held back: something in it may be refused or rewritten."""
        acts = {"block", "redact", "require_approval"}
        return any(sought.policy.action in acts and sought.policy in scoped for sought in self._answers)

    def scoped(self, x: Exchange) -> list[Policy]:
        """The policies that are for this call."""
        return [policy for policy in self.policies if is_for(policy, x)]

    def met_by_request(self, x: Exchange, scoped: Sequence[Policy], hits: frozenset[int]) -> list[Found]:
        """What the request meets; what depends on where it goes comes later."""
        found = [
            Found(sought.policy, f"request matches {sought.source}")
            for place, sought in enumerate(self._requests)
            if place in hits and sought.policy in scoped
        ]
        found += [
            Found(sought.policy, f"model matches {sought.source}")
            for sought in self._models
            if sought.policy in scoped and sought.expression.search(x.model_requested)
        ]
        for policy in self._plain:
            if policy in scoped:
                found += (Found(policy, condition) for condition in _plain_conditions(policy, x))
        return found

    def met_by_target(self, x: Exchange, scoped: Sequence[Policy], cost_nano: Callable[[], int]) -> list[Found]:
        """What the call meets by where it goes now and what it may cost there."""
        found = []
        for policy in scoped:
            limit = policy.conditions.max_cost_usd
            if limit and cost_nano() > usd_to_nano(limit):
                found.append(Found(policy, f"estimated cost is above {limit:g} USD"))
            elif _binds(policy) and x.targets and (why := refuses(policy, x.targets[0])):
                found.append(Found(policy, why))
        return found

    def in_answer(self, text: str, scoped: Sequence[Policy]) -> list[Sought]:
        """The patterns that a text of the answer holds."""
        hits = self._answer_matcher.scan(text)
        return [self._answers[hit] for hit in sorted(hits) if self._answers[hit].policy in scoped]

    def redactions(self, found: Sequence[Found]) -> list[Sought]:
        """The request's patterns of the policies that redact."""
        return [
            sought for sought in self._requests if any(each.policy is sought.policy and redacts(each) for each in found)
        ]


def redacts(found: Found) -> bool:
    """Whether what was found is taken out of the text."""
    return found.policy.action == "redact" and not found.policy.dry_run


def is_for(policy: Policy, x: Exchange) -> bool:
    """Whether the call is in the policy's scope and of its class of data."""
    scope = policy.scope
    if scope.teams and not _any(scope.teams, x.team):
        return False
    if scope.keys:
        names = (key_id(x), x.principal.name if x.principal is not None else "")
        if not any(key in names for key in scope.keys):
            return False
    if scope.models and not _any(scope.models, x.model_requested):
        return False
    if scope.tags and not any(_tagged(x, tag) for tag in scope.tags):
        return False
    if scope.hours is not None and not scope.hours.hold(x.started_wall_ns):
        return False
    classes = policy.conditions.data_class
    return not classes or x.tags.get(DATA_CLASS, "") in classes


def refuses(policy: Policy, target: Target) -> str:
    """Why the policy does not let a call go to the target; empty when it does."""
    conditions = policy.conditions
    if conditions.models is not None and not _allowed(conditions.models, (target.label, target.model)):
        return f"model {target.label} is not allowed"
    if conditions.providers is not None and not _allowed(conditions.providers, (target.provider.name,)):
        return f"provider {target.provider.name} is not allowed"
    if conditions.regions and not _any(conditions.regions, target.region):
        return f"region {target.region or 'unknown'} is not allowed"
    return ""


def _binds(policy: Policy) -> bool:
    """Whether the policy says where calls may go."""
    conditions = policy.conditions
    return conditions.models is not None or conditions.providers is not None or bool(conditions.regions)


def limits_targets(policy: Policy) -> bool:
    """Whether the policy keeps calls from targets, whoever adds these later."""
    return policy.action == "block" and not policy.dry_run and _binds(policy)


def _has_plain_conditions(policy: Policy) -> bool:
    conditions = policy.conditions
    only_class = bool(conditions.data_class) and conditions == type(conditions)(data_class=conditions.data_class)
    plain = conditions.max_prompt_tokens or conditions.max_output_tokens or conditions.required_tag
    return bool(plain or only_class or conditions.tools is not None or conditions.images is False)


def _plain_conditions(policy: Policy, x: Exchange) -> Iterator[str]:
    """Conditions of a policy that the request by itself meets, patterns left out."""
    conditions, req = policy.conditions, x.req
    if conditions == type(conditions)(data_class=conditions.data_class):
        yield f"data class {x.tags.get(DATA_CLASS, '')}"
    if conditions.required_tag and not _tagged(x, conditions.required_tag):
        yield f"tag {conditions.required_tag} is missing"
    if conditions.images is False and "vision" in needed(x):
        yield "images are not allowed"
    if conditions.tools is not None:
        for name in tool_names(req):
            if not _any(conditions.tools, name):
                yield f"tool {name[:100]} is not allowed"
                break
    if conditions.max_output_tokens:
        asked = req.get("max_completion_tokens", req.get("max_tokens"))
        if type(asked) is int and asked > conditions.max_output_tokens:
            yield f"more than {conditions.max_output_tokens} output tokens are asked for"
    if conditions.max_prompt_tokens and count_prompt_tokens(req) > conditions.max_prompt_tokens:
        yield f"the prompt has more than {conditions.max_prompt_tokens} tokens"


def tool_names(req: dict[str, Any]) -> Iterator[str]:
    """The names of the tools that a request offers."""
    for tool in req.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            yield name
    for function in req.get("functions") or ():
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"]


def _allowed(names: Names, known: Sequence[str]) -> bool:
    fits = any(_any(names.globs, name) for name in known)
    return fits if names.mode == "allow" else not fits


def _tagged(x: Exchange, wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in x.tags and (not equals or x.tags[name] == value)


def _any(globs: Sequence[str], value: str) -> bool:
    return any(fnmatchcase(value, glob) for glob in globs)
