"""Short names against a list."""

from instance.chute.dialects.together.names import completed

LISTED = ["a/Model-7B", "a/Model-7B-Turbo", "a/Model-70B", "b/Model-7B-Lite", "c/Other-Free", "d/Meta-Thing-1"]


def test_the_one_that_fits_is_taken_and_variants_only_when_named() -> None:
    assert completed("model-7b", LISTED)[0] == "a/Model-7B"
    assert completed("model-7b-turbo", LISTED)[0] == "a/Model-7B-Turbo"
    assert completed("thing-1", LISTED)[0] == "d/Meta-Thing-1"
    assert completed("other", LISTED) == ("", ["c/Other-Free"])
    assert completed("model", LISTED)[0] == ""
    assert completed("model-7", LISTED) == ("", [])
    assert completed("zzz", LISTED) == ("", [])


def test_candidates_are_few() -> None:
    assert len(completed("m", [f"v/m-{number}" for number in range(100)])[1]) == 10
