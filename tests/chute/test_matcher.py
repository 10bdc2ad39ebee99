"""The shared matcher and the texts that it sees."""

import tomllib
from pathlib import Path

import orjson
import pytest
import re2

from instance.chute.answer import Answer
from instance.chute.chain import Plan
from instance.chute.containment import Link
from instance.chute.discovery import builtin_module
from instance.chute.exchange import Exchange
from instance.chute.matcher import BadPattern, Matcher
from instance.chute.meter import Meter
from instance.chute.module import Module, ModuleSettings
from instance.chute.text import answer_texts, request_texts, rewrite_answer, rewrite_request
from tests.modules.exchanges import exchange


async def no_provider(x: Exchange) -> Answer:
    raise AssertionError("the provider was called")


def looking_for(name: str, *expressions: str) -> Module:
    class Looking(Module):
        category = "test"
        group = 5
        summary = "looks for patterns"

        def patterns(self) -> tuple[str, ...]:
            return expressions

    Looking.name = name
    return Looking(ModuleSettings())


def test_each_module_gets_the_indexes_of_its_own_patterns() -> None:
    matcher = Matcher.build([looking_for("a", "cat", "dog"), looking_for("b", "bird"), looking_for("c", "dog", "fish")])
    assert matcher is not None
    hits = matcher.scan("a dog and a fish")
    assert matcher.of("a", hits) == {1}
    assert matcher.of("b", hits) == set()
    assert matcher.of("c", hits) == {0, 1}
    assert matcher.of("nobody", hits) == set()


def test_without_patterns_there_is_no_matcher() -> None:
    assert Matcher.build([looking_for("a")]) is None
    assert Matcher.build([]) is None


def test_the_matcher_of_the_plan_before_goes_on_where_little_else_was_looked_for() -> None:
    many, few, none = looking_for("many", "cat", "dog", "bird"), looking_for("few", "fish"), looking_for("none")
    both = Matcher.build([many, few])
    assert both is not None
    without = Matcher.build([many, none], before=both)
    assert without is both
    assert without.of("many", without.scan("a fish and a dog")) == {1}
    assert Matcher.build([few, many], before=without) is both
    assert Matcher.build([few], before=both) is not both
    assert Matcher.build([none], before=both) is None


def test_the_matcher_of_the_plan_before_is_left_where_a_module_looks_for_something_else_now() -> None:
    before = Matcher.build([looking_for("a", "cat", "dog", "bird"), looking_for("b", "fish")])
    after = Matcher.build([looking_for("a", "cat", "dog"), looking_for("b", "fish")], before=before)
    assert after is not None
    assert after is not before
    assert after.of("b", after.scan("bird fish")) == {0}
    assert after.of("a", after.scan("bird fish")) == set()


def test_a_pattern_that_re2_does_not_take_is_named() -> None:
    with pytest.raises(BadPattern, match="back"):
        Matcher.build([looking_for("back", r"(a)\1")])


@pytest.mark.parametrize("text", ["", "\0", "\ud800 cat", "cat \udfff", "ünï cat", "\U0001f431 cat", "c\0at cat"])
def test_no_text_is_too_strange_to_be_scanned(text: str) -> None:
    matcher = Matcher([("a", ["cat"])])
    assert bool(matcher.scan(text)) == ("cat" in text)


def test_patterns_do_not_match_over_the_edge_of_two_texts() -> None:
    matcher = Matcher([("a", [r"one\s*two", r"(?m)^two", r"(?m)one$"])])
    req = {"messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]}
    assert matcher.scan_texts(request_texts(req)) == {1, 2}


REQUEST = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "T1"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "T2"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,IMAGE"}},
                {"type": "input_audio", "input_audio": {"data": "AUDIO", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "T3"}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "T4"},
        {"role": "assistant", "content": "T5", "refusal": "T6", "function_call": {"name": "g", "arguments": "T7"}},
    ],
    "prompt": ["T8", "T9"],
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "T10"}]}],
    "tools": [{"type": "function", "function": {"name": "f", "description": "SCHEMA"}}],
}


def test_the_texts_of_a_request_are_its_contents_arguments_and_results() -> None:
    assert request_texts(REQUEST) == ["T1", "T2", '{"a": "T3"}', "T4", "T5", "T6", "T7", "T8", "T9", "T10"]


def test_rewriting_reaches_every_text_says_where_and_leaves_the_original_alone() -> None:
    before = orjson.dumps(REQUEST)
    places: dict[str, str] = {}

    def mark(text: str, place: str) -> str:
        places[text] = place
        return text.replace("T", "X")

    rewritten = rewrite_request(REQUEST, mark)
    assert set(request_texts(rewritten)) == {text.replace("T", "X") for text in places}
    assert list(places) == request_texts(REQUEST)
    assert places["T2"] == "messages[1].content[0].text"
    assert places['{"a": "T3"}'] == "messages[2].tool_calls[0].function.arguments"
    assert places["T8"] == "prompt[0]"
    assert orjson.dumps(REQUEST) == before
    assert rewritten["messages"][1]["content"][1] is REQUEST["messages"][1]["content"][1]  # type: ignore[index]


def test_nothing_changed_is_the_same_object() -> None:
    assert rewrite_request(REQUEST, lambda text, place: text) is REQUEST
    answer = {"choices": [{"message": {"role": "assistant", "content": "hi"}}]}
    assert rewrite_answer(answer, lambda text, place: text) is answer


def test_the_texts_of_an_answer_are_read_and_rewritten_in_every_choice() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "A2"}}
    answer = {
        "choices": [
            {"message": {"role": "assistant", "content": "A1", "tool_calls": [call]}},
            {"message": {"role": "assistant", "content": [{"type": "text", "text": "A3"}]}},
            {"text": "A4"},
        ]
    }
    assert answer_texts(answer) == ["A1", "A2", "A3", "A4"]
    rewritten = rewrite_answer(answer, lambda text, place: text.lower())
    assert answer_texts(rewritten) == ["a1", "a2", "a3", "a4"]


@pytest.mark.parametrize(
    "req",
    [
        {},
        {"messages": None},
        {"messages": "text"},
        {"messages": [None, 1, "x", [], {"role": "user"}, {"content": 5}, {"content": [None, 3, {"text": 4}]}]},
        {
            "messages": [
                {"role": "a", "content": "", "tool_calls": [None, {"function": None}, {"function": {}}], "x": 1}
            ]
        },
        {"prompt": [1, 2, [3, 4]], "input": {"a": 1}},
    ],
)
def test_shapes_that_nobody_knows_are_passed_over(req: dict[str, object]) -> None:
    assert request_texts(req) == []
    assert rewrite_request(req, lambda text, place: text + "!") is req
    assert answer_texts({"choices": [None, {"message": 3}, {}]}) == []


def test_texts_that_come_in_after_the_scan_are_scanned_too() -> None:
    module = looking_for("a", "secret", "later")
    x = exchange()
    x.plan = Plan(1, "chat", [Link(module, Meter(), 0)], no_provider)
    first = {"role": "user", "content": "a secret"}
    x.req = {"model": "m", "messages": [first]}
    assert x.hits(module) == {0}

    x.req = {"model": "m", "messages": [{"role": "user", "content": "said later"}, first]}
    x.change()
    assert x.hits(module) == {0, 1}


def test_a_branch_does_not_count_its_texts_as_scanned_for_the_call() -> None:
    module = looking_for("a", "secret")
    x = exchange()
    x.plan = Plan(1, "chat", [Link(module, Meter(), 0)], no_provider)
    x.req = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert x.hits(module) == set()
    message = {"role": "user", "content": "a secret"}
    branch = x.branch([])
    branch.req = {"model": "m", "messages": [message]}
    branch.change()
    assert branch.hits(module) == {0}

    x.req = {"model": "m", "messages": [message]}
    x.change()
    assert x.hits(module) == {0}


def test_an_answer_is_scanned_anew_when_its_texts_changed() -> None:
    module = looking_for("a", "cat")
    x = exchange()
    x.plan = Plan(1, "chat", [Link(module, Meter(), 0)], no_provider)
    message = {"role": "assistant", "content": "a dog"}
    obj = {"choices": [{"index": 0, "message": message}]}
    assert x.answer_hits(module, obj) == set()
    message["content"] = "a cat"
    assert x.answer_hits(module, obj) == {0}


EVERY_MODULE = tomllib.loads((Path(__file__).parents[1] / "bench" / "all-on.toml").read_text())["modules"]
LABELLED = [
    line.rsplit("\t", 1)[-1]
    for file in sorted((Path(__file__).parents[1] / "quality").glob("*.tsv"))
    for line in file.read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_what_the_shared_matcher_finds_is_what_each_expression_finds_alone() -> None:
    owners = []
    for name, values in EVERY_MODULE.items():
        cls = builtin_module(name)
        module = cls(cls.Settings.model_validate({key: value for key, value in values.items() if key != "enabled"}))
        owners.append((name, tuple(module.patterns())))
    matcher = Matcher(owners)
    alone = [re2.compile(expression) for _, expressions in owners for expression in expressions]
    found = 0
    for text in LABELLED:
        hits = matcher.scan(text)
        assert hits == {index for index, expression in enumerate(alone) if expression.search(text)}, text
        found += len(hits)
    assert found > len(LABELLED)


def test_an_expression_that_two_modules_look_for_is_found_for_both() -> None:
    for expression in ("cat", r"cat\W+(?:\w+\W+){0,3}dog"):
        matcher = Matcher([("a", ["bird", expression]), ("b", [expression])])
        hits = matcher.scan("a cat and a dog")
        assert matcher.of("a", hits) == {1}
        assert matcher.of("b", hits) == {0}


def test_plans_that_look_for_the_same_share_a_matcher() -> None:
    one = Matcher.build([looking_for("a", "cat"), looking_for("b")])
    assert one is not None
    assert Matcher.build([looking_for("a", "cat")]) is one
    assert Matcher.build([looking_for("a", "dog")]) is not one
    assert Matcher.build([looking_for("b", "cat")]) is not one


def test_of_whom_nothing_is_looked_for_nothing_is_known() -> None:
    matcher = Matcher([("a", ["cat"])])
    assert matcher.known("a", "a bird") is None
    matcher.remember("a bird", matcher.scan("a bird"))
    assert matcher.known("a", "a bird") == frozenset()
    assert matcher.known("b", "a bird") is None


def test_a_matcher_beside_another_finds_the_same_as_alone_and_nothing_of_the_others() -> None:
    common = [f"word{number}" for number in range(20)]
    whole = Matcher([("a", [*common, "more", r"ignore(?:\W+\w+)*\W+rules"]), ("b", ["bird"])])
    text = "word3 and more of a bird; ignore all the rules of word19"
    for wanted in ([("a", common), ("b", ["bird"])], [("b", ["bird"])], [("a", [*common, "other"])]):
        alone, beside = Matcher(wanted), Matcher(wanted, whole)
        assert beside.scan(text) == alone.scan(text)
        assert beside.scan("other words") == alone.scan("other words")


EXPRESSIONS = (r"\bcat\b", r"dog\s*$", r"(?m)^bird$", r"fish\z", r"a\B", r"\w+ and \w+\W", r"cow[.!?]", r"(?i)\bpig")


@pytest.mark.parametrize(
    "whole", ["A cat and a dog. A cow", "dog \nbird\nfish; a", "pi_a. g ", "no one, a. b", "ünd so. ja"]
)
def test_of_the_beginning_of_a_text_is_found_what_a_scan_of_its_own_finds(whole: str) -> None:
    for expression in EXPRESSIONS:
        matcher = Matcher([("a", [expression])])
        if matcher.scan(whole):
            continue
        for end in range(len(whole) + 1):
            assert matcher.scan_cut(whole[:end], whole) == matcher.scan(whole[:end]), (expression, whole[:end])
        assert matcher.scan_cut("A cat.", whole) == matcher.scan("A cat.")
