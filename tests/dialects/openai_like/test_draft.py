"""Requests are fitted without touching what the caller sent."""

from copy import deepcopy
from typing import Any

from instance.chute.dialects.deepseek.request import fit as fit_deepseek
from instance.chute.dialects.fireworks.request import fit as fit_fireworks
from instance.chute.dialects.groq.request import fit as fit_groq
from instance.chute.dialects.mistral.request import fit as fit_mistral
from instance.chute.dialects.openai_like.draft import Draft, plain_message, plain_tools
from instance.chute.dialects.perplexity.request import fit as fit_perplexity
from instance.chute.dialects.together.request import fit as fit_together

FULL: dict[str, Any] = {
    "model": "m",
    "messages": [
        {
            "role": "developer",
            "content": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        },
        {"role": "user", "content": "hi", "name": "ada"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
            "tool_calls": [
                {"id": "call_long_enough_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_long_enough_1", "content": "ok"},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}],
    "tool_choice": "required",
    "temperature": 0,
    "seed": 1,
    "n": 2,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"1": 2},
    "max_completion_tokens": 5,
    "stop": "x",
    "user": "u",
    "store": True,
    "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "groq": {"service_tier": "flex"},
    "anthropic": {"thinking": {}},
}


def test_no_fit_touches_the_callers_request() -> None:
    fits: list[Any] = [
        lambda draft: fit_mistral(draft, safe_prompt=True),
        lambda draft: fit_groq(draft, "llama"),
        fit_together,
        lambda draft: fit_deepseek(draft, thinks=True),
        lambda draft: fit_fireworks(draft, max_tokens=9, context_overflow="error"),
        fit_perplexity,
    ]
    for fit in fits:
        req = deepcopy(FULL)
        draft = Draft(req)
        draft.own_parameters("groq")
        draft.each_message(lambda message: plain_message(message, set()))
        plain_tools(draft)
        fit(draft)
        assert req == FULL
        assert draft.changed


def test_a_request_without_differences_is_the_same_object() -> None:
    req: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
    for fit in (fit_mistral, fit_together, fit_perplexity):
        draft = Draft(req)
        draft.own_parameters("mistral")
        draft.each_message(lambda message: plain_message(message, set()))
        plain_tools(draft)
        fit(draft)
        assert draft.req is req and not draft.changed and draft.dropped == []


def test_own_parameters_go_to_the_top_and_others_go_away() -> None:
    draft = Draft({"model": "m", "groq": {"a": 1}, "mistral": {"b": 2}, "extra_body": {"groq": {"a": 0, "c": 3}}})
    draft.own_parameters("groq")
    assert draft.req == {"model": "m", "a": 1, "c": 3}


def test_values_that_ask_for_nothing_are_not_told_as_lost() -> None:
    draft = Draft({"n": 1, "logprobs": False, "logit_bias": {}, "seed": None, "user": "u"})
    draft.drop("n", "logprobs", "logit_bias", "seed", "user", "absent")
    assert (draft.req, draft.dropped) == ({}, ["user"])


def test_what_was_added_to_answers_goes_from_histories_untold_and_the_callers_own_told() -> None:
    lost: set[str] = set()
    message = {**FULL["messages"][2], "perplexity": {}, "annotations": [], "name": "ada", "refusal": None}
    plain = plain_message(message, lost, allowed=frozenset(("role", "content", "tool_calls")))
    assert set(plain) == {"role", "content", "tool_calls"} and lost == {"name"}
    kept = plain_message(message, set(), reasoning=True)
    assert kept["reasoning_content"] == "hm" and "reasoning_details" not in kept
