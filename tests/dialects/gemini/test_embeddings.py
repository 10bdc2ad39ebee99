from base64 import b64decode
from struct import unpack

import pytest

from instance.chute.dialects.embedding_vectors import embeddings_answer
from instance.chute.dialects.gemini.embeddings import TEXTS_MAX, read_embeddings, write_embeddings
from instance.core.errors import StockyardError


def test_each_text_is_a_request_of_the_batch() -> None:
    req = {"model": "m", "input": ["a", "b"], "dimensions": 8, "task_type": "RETRIEVAL_QUERY", "user": "u"}
    (body,), dropped = write_embeddings(req, "gemini-embedding-001")
    assert [one["content"] for one in body["requests"]] == [{"parts": [{"text": "a"}]}, {"parts": [{"text": "b"}]}]
    assert {one["model"] for one in body["requests"]} == {"models/gemini-embedding-001"}
    assert body["requests"][0]["outputDimensionality"] == 8
    assert body["requests"][0]["taskType"] == "RETRIEVAL_QUERY"
    assert dropped == ["user"]


def test_more_than_one_batch_holds_is_several() -> None:
    bodies, _ = write_embeddings({"input": [str(n) for n in range(TEXTS_MAX + 1)]}, "m")
    assert [len(body["requests"]) for body in bodies] == [TEXTS_MAX, 1]


@pytest.mark.parametrize("given", [None, [], [[1, 2]], [1, 2], 5])
def test_what_is_no_text_is_refused(given: object) -> None:
    with pytest.raises(StockyardError) as caught:
        write_embeddings({"input": given}, "m")
    assert (caught.value.status, caught.value.param) == (400, "input")


def test_the_answer_is_in_the_order_of_the_texts() -> None:
    vectors, tokens = read_embeddings({"embeddings": [{"values": [0.5, 1]}, {"values": [2]}]})
    assert tokens is None
    plain = embeddings_answer(vectors, "m", as_base64=False, prompt_tokens=3)
    assert [(one["index"], one["embedding"]) for one in plain["data"]] == [(0, [0.5, 1]), (1, [2])]
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    packed = embeddings_answer(vectors, "m", as_base64=True, prompt_tokens=None)
    assert unpack("<2f", b64decode(packed["data"][0]["embedding"])) == (0.5, 1.0)
    assert "usage" not in packed
