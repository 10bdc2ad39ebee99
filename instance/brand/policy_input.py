"""What `/api/trust/policies` takes: the nested form, the original's flat one, and both mixed; made into a policy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from instance.brand.policy import Action, Conditions, Globs, Pattern, Policy, Scope, compiled
from instance.core.errors import StockyardError

FIELDS = {"request.content": "request", "response.content": "response", "request.model": "model"}


class Rule(BaseModel):
    """A pattern in the original's form."""

    model_config = ConfigDict(extra="forbid")

    field: Literal["request.content", "response.content", "request.model"]
    pattern: Annotated[str, Field(min_length=1, max_length=1000)]
    description: Annotated[str, Field(max_length=500)] = ""


class PolicyConfig(BaseModel):
    """What a policy says, beside its name and action."""

    model_config = ConfigDict(extra="forbid")

    description: Annotated[str | None, Field(max_length=2000)] = None
    message: Annotated[str | None, Field(max_length=500, description="What a refused caller is told.")] = None
    pattern: Annotated[str | None, Field(min_length=1, max_length=1000, description="RE2.")] = None
    target: Literal["request", "response", "both"] = "response"
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_cost_usd: Annotated[float | None, Field(gt=0, le=1e6)] = None
    models: Globs | None = None
    models_mode: Literal["allow", "deny"] = "allow"
    teams: Globs | None = None
    replacement: Annotated[str | None, Field(max_length=200)] = None
    retention_days: Annotated[int | None, Field(ge=1, le=36_500)] = None
    rules: Annotated[list[Rule], Field(max_length=100)] = []
    scope: Scope | None = None
    conditions: dict[str, Any] | None = None


class NewPolicy(PolicyConfig):
    """What `POST` takes; `config` may hold what else stands beside the name."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    type: Action | None = None
    action: Action | None = None
    config: PolicyConfig | None = None
    dry_run: bool = False
    enabled: bool = True


class PolicyChange(PolicyConfig):
    """What `PUT` takes; what is left out stays."""

    name: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    type: Action | None = None
    action: Action | None = None
    config: PolicyConfig | None = None
    dry_run: bool | None = None
    enabled: bool | None = None


def made(body: NewPolicy, policy_id: str, now_ns: int) -> Policy:
    """A new policy. Raises `missing_field`, `bad_pattern`, `invalid_value`."""
    action = body.type or body.action
    if action is None:
        raise StockyardError("missing_field", "`type` is missing: block, redact, warn, …", param="type")
    blank = Policy(
        policy_id,
        body.name,
        0,
        action,
        "",
        "",
        "",
        0,
        Scope(),
        Conditions(),
        body.dry_run,
        body.enabled,
        now_ns,
        now_ns,
    )
    return changed(blank, body, now_ns)


def changed(policy: Policy, body: NewPolicy | PolicyChange, now_ns: int) -> Policy:
    """The policy's next version. Raises `bad_pattern`, `invalid_value`."""
    given = _given(body)
    scope = _scope(policy.scope, given)
    conditions = _conditions(policy.conditions, given)
    action: Action = body.type or body.action or policy.action
    retention = given.get("retention_days", policy.retention_days)
    if action == "retention":
        if not retention:
            raise StockyardError("missing_field", "A retention policy needs `retention_days`.", param="retention_days")
        if scope != Scope() or conditions != Conditions():
            raise StockyardError(
                "invalid_value", "A retention policy holds for everything: it has no scope.", param="scope"
            )
    elif conditions == Conditions():
        raise StockyardError("missing_field", "A policy needs a condition: pattern, models, …", param="conditions")
    return Policy(
        id=policy.id,
        name=body.name or policy.name,
        version=policy.version + 1,
        action=action,
        description=given.get("description", policy.description),
        message=given.get("message", policy.message),
        replacement=given.get("replacement", policy.replacement),
        retention_days=retention if action == "retention" else 0,
        scope=scope,
        conditions=conditions,
        dry_run=policy.dry_run if body.dry_run is None else body.dry_run,
        enabled=policy.enabled if body.enabled is None else body.enabled,
        created_at_ns=policy.created_at_ns,
        updated_at_ns=now_ns,
    )


def _given(body: NewPolicy | PolicyChange) -> dict[str, Any]:
    """The fields that were sent, in `config` or beside it."""
    sent: dict[str, Any] = {}
    for part in (body.config, body):
        if part is not None:
            sent |= {
                name: getattr(part, name)
                for name in PolicyConfig.model_fields
                if name in part.model_fields_set and getattr(part, name) is not None
            }
    return sent


def _scope(scope: Scope, given: dict[str, Any]) -> Scope:
    if "scope" in given:
        scope = given["scope"]
    return scope.model_copy(update={"teams": given["teams"]}) if "teams" in given else scope


def _conditions(before: Conditions, given: dict[str, Any]) -> Conditions:
    fields: dict[str, Any] = before.model_dump(exclude_defaults=True)
    if "conditions" in given:
        fields = dict(given["conditions"])
    patterns = list(fields.get("patterns", ()))
    if "pattern" in given or "rules" in given:
        patterns = [] if "conditions" not in given else patterns
        if "pattern" in given:
            patterns.append({"pattern": given["pattern"], "on": given.get("target", "response")})
        patterns += [{"pattern": rule.pattern, "on": FIELDS[rule.field]} for rule in given.get("rules", ())]
    elif "target" in given and "conditions" not in given:
        patterns = [{**pattern, "on": given["target"]} for pattern in patterns]
    if patterns:
        fields["patterns"] = patterns
    if "max_tokens" in given:
        fields["max_output_tokens"] = given["max_tokens"]
    if "max_cost_usd" in given:
        fields["max_cost_usd"] = given["max_cost_usd"]
    if "models" in given:
        fields["models"] = {"mode": given.get("models_mode", "allow"), "globs": given["models"]}
    for place, pattern in enumerate(patterns):
        text = pattern.get("pattern") if isinstance(pattern, dict) else getattr(pattern, "pattern", None)
        if isinstance(text, str) and text:
            try:
                compiled(text)
            except ValueError as error:
                raise StockyardError("bad_pattern", f"{error}.", param=f"conditions.patterns.{place}.pattern") from None
    try:
        return Conditions.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        param = "conditions." + ".".join(str(part) for part in problem["loc"])
        raise StockyardError("invalid_value", f"{param}: {problem['msg']}.", param=param) from None


__all__ = ["NewPolicy", "Pattern", "PolicyChange", "changed", "made"]
