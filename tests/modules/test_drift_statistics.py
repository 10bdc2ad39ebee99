"""The tests behind drift, against what their books say."""

from __future__ import annotations

import random

import pytest

from instance.chute.modules.observe.answer_features import features_of, language_of
from instance.chute.modules.observe.drift_tests import categories, cohen_d, numbers, q_values, rates, vectors


def test_two_samples_of_one_distribution_differ_as_often_as_the_level_says() -> None:
    source = random.Random(1)
    found = [
        numbers([source.gauss(0, 1) for _ in range(200)], [source.gauss(0, 1) for _ in range(100)]).p
        for _ in range(1000)
    ]
    assert 0.02 <= sum(p < 0.05 for p in found) / 1000 <= 0.07


def test_a_shift_of_one_standard_deviation_is_found_with_its_effect() -> None:
    source = random.Random(2)
    tested = numbers([source.gauss(0, 1) for _ in range(200)], [source.gauss(1, 1) for _ in range(100)])
    assert tested.p < 1e-6
    assert tested.effect == pytest.approx(1, abs=0.3)


def test_the_probabilities_of_kolmogorov() -> None:
    # D = 0.5 of 100 each: lambda = 3.603, p = 2 exp(-2 lambda^2); D = 0.1: p = 0.70, as tables have it
    assert numbers([*range(100)], [n + 50 for n in range(100)]).p == pytest.approx(1.06e-11, rel=0.02)
    assert numbers([*range(100)], [n + 10 for n in range(100)]).p == pytest.approx(0.70, abs=0.03)


def test_cohens_d_and_h_by_hand() -> None:
    assert cohen_d([1, 2, 3], [3, 4, 5]) == pytest.approx(2)
    assert cohen_d([1, 1], [1, 1]) == 0
    tested = rates(20, 200, 30, 100)
    assert tested.effect == pytest.approx(0.5158, abs=1e-3)
    assert tested.p == pytest.approx(1.1e-5, rel=0.2)
    assert rates(0, 200, 0, 100) == (1.0, 0.0)


def test_categories_are_corrected_for_their_number() -> None:
    before, now = ["a"] * 100 + ["b"] * 50 + ["c"] * 50, ["a"] * 25 + ["b"] * 50 + ["c"] * 25
    assert categories(before, now).p == pytest.approx(3 * rates(50, 200, 50, 100).p)
    assert categories(["a"] * 10, ["a"] * 10) == (1.0, 0.0)


def test_q_values_of_benjamini_and_hochberg() -> None:
    assert q_values([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert q_values([0.5, 0.001]) == pytest.approx([0.5, 0.002])
    assert q_values([]) == []


def test_means_of_vectors_that_differ_are_told_from_those_that_do_not() -> None:
    np = pytest.importorskip("numpy")
    source = np.random.default_rng(3)
    one = source.normal(size=(200, 32))
    same = [vectors(one, source.normal(size=(100, 32)), seed).p for seed in range(20)]
    assert sum(p < 0.05 for p in same) <= 4
    shifted = vectors(one, source.normal(size=(100, 32)) + 0.5)
    assert shifted.p <= 1 / 5000
    assert shifted.effect == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot provide instructions for this.", True),
        ("As an AI, I am not able to give legal advice.", True),
        ("Ich kann dir dabei leider nicht helfen.", True),
        ("You can't divide by zero, so the answer is undefined.", False),
        ("The function cannot return null here.", False),
        ("Sure! Here is the list you asked for.", False),
    ],
)
def test_answers_that_refuse(text: str, refuses: bool) -> None:
    assert features_of(text).refuses is refuses


def test_json_with_and_without_a_fence() -> None:
    assert features_of('{"a": [1]}').is_json
    assert features_of('```json\n{"a": 1}\n```').is_json
    assert not features_of('{"a": [1}').is_json
    assert not features_of("The object {} is empty.").is_json
    assert not features_of("").is_json


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The weather in the north is cold and it will be windy for days.", "en"),
        ("Das Wetter im Norden ist kalt und es wird auch windig.", "de"),
        ("Le temps dans le nord est froid et il y a du vent.", "fr"),
        ("El tiempo en el norte es frío y hay mucho viento por la noche.", "es"),
        ("北部的天气很冷。", "zh"),
        ("北の天気は寒いです。", "ja"),
        ("Погода на севере холодная.", "ru"),
        ("42", ""),
    ],
)
def test_the_language_of_an_answer(text: str, language: str) -> None:
    assert language_of(text) == language
