"""The chain's order: every module's name, outermost first, by group. Source: the module reference, *Chain order*."""

from __future__ import annotations

GROUPS: tuple[tuple[str, ...], ...] = (
    (
        "errornorm",
        "tracelink",
        "llmtap",
        "streamsnap",
        "devproxy",
        "compliancelog",
        "alertpulse",
        "driftwatch",
        "feedbackloop",
        "usagepulse",
    ),
    ("ipfence", "tenantwall", "rateshield", "agentguard", "idlekill", "batchqueue"),
    ("maskmode", "outputcap", "voicebridge"),
    ("promptpad", "modelalias", "approvalgate", "promptlint", "chatmem", "contextpack"),
    (
        "trustenforce",
        "secretscan",
        "promptguard",
        "guardrail",
        "toxicfilter",
        "agegate",
        "toolshield",
        "codefence",
        "hallucicheck",
    ),
    ("promptslim",),
    (
        "modelswitch",
        "abrouter",
        "tierdrop",
        "regionroute",
        "weightedrouter",
        "loadbalancer",
        "localsync",
        "stickysession",
        "healthcheck",
    ),
    ("tokentrim", "costcap"),
    ("langbridge", "mockllm", "cachelayer", "semanticcache", "embedcache", "imageproxy"),
    ("evalgate", "structuredshield", "schemavalidator", "jsonrepair", "multicall"),
    ("fallbackrouter", "retry", "circuitbreaker", "keypool", "timeout"),
    (
        "paramnorm",
        "anthrofit",
        "geminishim",
        "groqshim",
        "ollamashim",
        "bedrockshim",
        "azureshim",
        "mistralshim",
        "cohereshim",
        "togethershim",
        "deepseekshim",
        "fireworksshim",
        "replicateshim",
        "perplexityshim",
    ),
)

SHIMS: dict[str, str] = {
    "anthropic" if name == "anthrofit" else name.removesuffix("shim"): name
    for name in GROUPS[-1]
    if name != "paramnorm"
}
"""Dialect of a provider -> the module that speaks it."""

ON_BY_DEFAULT = frozenset(
    [
        "errornorm",
        "tracelink",
        "llmtap",
        "streamsnap",
        "compliancelog",
        "alertpulse",
        "feedbackloop",
        "usagepulse",
        "idlekill",
        "timeout",
        "retry",
        "circuitbreaker",
        "healthcheck",
        "keypool",
        "modelalias",
        "promptpad",
        "trustenforce",
        "paramnorm",
        "jsonrepair",
        "embedcache",
        "secretscan",
        *SHIMS.values(),
    ]
)
"""What is on unless it is switched off. Said here and not only by the modules, so that a module that is off need not be
imported for it: a start imports what is on, and the shims not before they are needed."""

PLACE: dict[str, tuple[int, int]] = {
    name: (group, place) for group, names in enumerate(GROUPS, 1) for place, name in enumerate(names)
}
"""Name -> (group from 1, place within the group from 0)."""
