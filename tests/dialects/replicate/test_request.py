from typing import Any

import pytest

from instance.chute.dialects.replicate.chat import text_of, write_chat
from instance.chute.dialects.replicate.images import image_urls, write_images
from instance.chute.dialects.replicate.input_schema import InputSchema
from instance.chute.dialects.replicate.prediction import ModelName, followed
from instance.chute.dialects.replicate.templates import Turn, prompt_of, template_of
from instance.chute.upstream import UpstreamUrl
from instance.core.errors import StockyardError

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "be brief"}
SAID = {"role": "assistant", "content": "hello"}
NEXT = {"role": "user", "content": "and?"}


def schema(**properties: Any) -> InputSchema:
    return InputSchema({"components": {"schemas": {"Input": {"type": "object", "properties": properties}}}})


TEXT = {"type": "string"}
NUMBER = {"type": "number"}


def given(
    inputs: InputSchema, /, *messages: dict[str, Any], model: str = "meta/meta-llama-3-8b-instruct", **req: Any
) -> Any:
    return write_chat({"messages": list(messages) or [USER], **req}, model, inputs)


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("meta/meta-llama-3-70b-instruct", "llama3"),
        ("meta/llama-2-7b-chat", "llama2"),
        ("mistralai/mixtral-8x7b", "mistral"),
        ("google-deepmind/gemma-3-27b-it", "gemma"),
        ("qwen/qwen3-235b", "chatml"),
        ("anthropic/claude-4-sonnet", "plain"),
    ],
)
def test_the_template_is_the_familys(model: str, template: str) -> None:
    assert template_of(model, {}) == template
    assert template_of(model, {"*/*": "chatml"}) == "chatml"


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (
            "llama3",
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nC<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("llama2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nA [/INST] B</s>[INST] C [/INST]"),
        ("mistral", "<s>[INST] S\n\nA [/INST] B</s>[INST] C [/INST]"),
        (
            "chatml",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n"
            "<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "gemma",
            "<start_of_turn>user\nS\n\nA<end_of_turn>\n<start_of_turn>model\nB<end_of_turn>\n"
            "<start_of_turn>user\nC<end_of_turn>\n<start_of_turn>model\n",
        ),
        ("plain", "System: S\n\nUser: A\n\nAssistant: B\n\nUser: C\n\nAssistant:"),
    ],
)
def test_each_template_ends_where_the_model_speaks(template: Any, prompt: str) -> None:
    turns = [Turn("system", "S"), Turn("user", "A"), Turn("assistant", "B"), Turn("user", "C")]
    assert prompt_of(turns, template) == prompt


def test_braces_in_a_message_are_left_alone() -> None:
    assert (
        prompt_of([Turn("system", "{text}"), Turn("user", "{system}")], "mistral")
        == "<s>[INST] {text}\n\n{system} [/INST]"
    )


def test_a_model_with_messages_gets_them() -> None:
    made, _ = given(schema(messages={"type": "array"}, prompt=TEXT), SYSTEM, USER)
    assert made == {"messages": [SYSTEM, USER]}


def test_a_model_with_a_system_prompt_gets_it_apart() -> None:
    inputs = schema(prompt=TEXT, system_prompt=TEXT)
    assert given(inputs, SYSTEM, USER)[0] == {"prompt": "hi", "system_prompt": "be brief"}
    made, _ = given(inputs, SYSTEM, USER, SAID, NEXT)
    assert made == {"prompt": "User: hi\n\nAssistant: hello\n\nUser: and?\n\nAssistant:", "system_prompt": "be brief"}


def test_a_model_with_a_template_of_its_own_is_told_to_leave_ours() -> None:
    inputs = schema(prompt=TEXT, prompt_template=TEXT)
    assert given(inputs, USER)[0] == {"prompt": "hi"}
    made, _ = given(inputs, USER, SAID, NEXT)
    assert made["prompt_template"] == "{prompt}"
    assert made["prompt"].endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")


def test_only_published_inputs_are_sent() -> None:
    req = {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.5,
        "stop": "END",
        "seed": 1,
        "user": "u",
        "length_penalty": 2,
    }
    made, dropped = given(InputSchema(None), USER, model="a/b", **req)
    assert made == {"prompt": "hi"}
    assert set(dropped) == {"max_tokens", "temperature", "top_p", "stop", "seed", "user", "length_penalty"}
    inputs = schema(
        prompt=TEXT,
        max_new_tokens={"type": "integer", "maximum": 8},
        temperature={"type": "number", "minimum": 0.01},
        stop_sequences=TEXT,
        length_penalty=NUMBER,
        seed={"type": "integer"},
    )
    made, dropped = given(inputs, USER, model="a/b", **{**req, "temperature": 0, "stop": ["A", "B"]})
    assert made == {
        "prompt": "hi",
        "max_new_tokens": 8,
        "temperature": 0.01,
        "stop_sequences": "A,B",
        "length_penalty": 2,
        "seed": 1,
    }
    assert dropped == ["top_p", "user"]


@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens", "max_completion_tokens", "max_length"])
def test_the_limit_goes_by_the_name_that_the_model_has(name: str) -> None:
    made, dropped = given(schema(**{"prompt": TEXT, name: {"type": "integer"}}), USER, max_completion_tokens=7)
    assert (made[name], dropped) == (7, [])


def test_own_inputs_pass_where_they_are_published() -> None:
    made, dropped = given(
        schema(prompt=TEXT, min_tokens=NUMBER), USER, model="a/b", replicate={"min_tokens": 3, "x": 1}
    )
    assert made == {"prompt": "hi", "min_tokens": 3}
    assert dropped == ["x"]


PICTURE = {
    "role": "user",
    "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "https://e.x/a"}}],
}


def test_images_go_to_the_input_for_them() -> None:
    assert given(schema(prompt=TEXT, image=TEXT), PICTURE, model="a/b")[0] == {
        "prompt": "see",
        "image": "https://e.x/a",
    }
    made, _ = given(schema(prompt=TEXT, image_input={"type": "array"}), PICTURE, model="a/b")
    assert made["image_input"] == ["https://e.x/a"]


@pytest.mark.parametrize(
    ("inputs", "req", "param"),
    [
        (schema(prompt=TEXT), {"messages": [USER], "tools": [{"function": {"name": "f"}}]}, "tools"),
        (schema(prompt=TEXT), {"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        (schema(prompt=TEXT), {"messages": [PICTURE]}, "messages"),
        (schema(prompt=TEXT, image=TEXT), {"messages": [PICTURE, PICTURE]}, "messages"),
        (
            schema(prompt=TEXT),
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0]",
        ),
        (schema(seed=NUMBER), {"messages": [USER]}, "model"),
    ],
)
def test_what_cannot_be_sent_is_named(inputs: InputSchema, req: dict[str, Any], param: str) -> None:
    with pytest.raises(StockyardError) as caught:
        write_chat(req, "a/b", inputs)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)


def test_enumerations_stand_apart_in_the_published_schema() -> None:
    published = {
        "components": {
            "schemas": {
                "aspect_ratio": {"enum": ["1:1", "16:9", "9:16", "custom"], "type": "string"},
                "Input": {"properties": {"aspect_ratio": {"allOf": [{"$ref": "#/components/schemas/aspect_ratio"}]}}},
            }
        }
    }
    assert InputSchema(published).choices("aspect_ratio") == ["1:1", "16:9", "9:16", "custom"]


RATIOS = {"type": "string", "enum": ["1:1", "16:9", "3:2", "4:3", "9:16", "match_input_image"]}


@pytest.mark.parametrize(
    ("inputs", "size", "made"),
    [
        (schema(prompt=TEXT, width=NUMBER, height={"type": "integer", "maximum": 512}), "1024x768", {"width": 1024, "height": 512}),
        (schema(prompt=TEXT, aspect_ratio=RATIOS), "1024x768", {"aspect_ratio": "4:3"}),
        (schema(prompt=TEXT, aspect_ratio=RATIOS), "1792x1024", {"aspect_ratio": "16:9"}),
        (schema(prompt=TEXT, aspect_ratio=TEXT), "1024x768", {"aspect_ratio": "4:3"}),
        (schema(prompt=TEXT, size={"enum": ["1024x768"]}), "1024x768", {"size": "1024x768"}),
        (schema(prompt=TEXT), "auto", {}),
    ],
)  # fmt: skip
def test_the_size_is_said_as_the_model_takes_it(inputs: InputSchema, size: str, made: dict[str, Any]) -> None:
    got, times, dropped = write_images({"prompt": "a cow", "size": size}, inputs)
    assert got == {"prompt": "a cow", **made}
    assert (times, dropped) == (1, [])


def test_several_images_are_outputs_or_predictions() -> None:
    one = write_images({"prompt": "p", "n": 4}, schema(prompt=TEXT, num_outputs={"type": "integer", "maximum": 4}))
    assert one == ({"prompt": "p", "num_outputs": 4}, 1, [])
    two = write_images({"prompt": "p", "n": 6}, schema(prompt=TEXT, num_outputs={"type": "integer", "maximum": 4}))
    assert two[1] == 2
    assert write_images({"prompt": "p", "n": 3, "size": "8x8"}, schema(prompt=TEXT)) == ({"prompt": "p"}, 3, ["size"])


def test_the_images_format_is_the_models_word_for_it() -> None:
    inputs = schema(prompt=TEXT, output_format={"enum": ["webp", "jpg", "png"]})
    assert write_images({"prompt": "p", "output_format": "jpeg"}, inputs)[0]["output_format"] == "jpg"
    assert write_images({"prompt": "p", "output_format": "gif"}, inputs)[2] == ["output_format"]


@pytest.mark.parametrize(
    ("output", "urls"),
    [("u", ["u"]), (["u", "v"], ["u", "v"]), ({"images": ["u"]}, ["u"]), ([{"url": "u"}], ["u"])],
)
def test_images_of_an_output(output: Any, urls: list[str]) -> None:
    assert image_urls(output) == urls


@pytest.mark.parametrize("output", [None, [], {}, [1]])
def test_an_output_without_images(output: Any) -> None:
    with pytest.raises(ValueError, match="prediction"):
        image_urls(output)


@pytest.mark.parametrize(
    ("output", "text"),
    [(None, ""), ("a", "a"), (["a", "b"], "ab"), ({"text": "a"}, "a"), ({"output": ["a"]}, "a"), (5, "5")],
)
def test_the_text_of_an_output(output: Any, text: str) -> None:
    assert text_of(output) == text


@pytest.mark.parametrize(
    ("model", "path", "body", "described"),
    [
        ("meta/llama", b"/models/meta/llama/predictions", {}, b"/models/meta/llama"),
        ("a/b:v1", b"/predictions", {"version": "v1"}, b"/models/a/b/versions/v1"),
        ("f" * 64, b"/predictions", {"version": "f" * 64}, b""),
        ("deployments/a/b", b"/deployments/a/b/predictions", {}, b""),
    ],
)
def test_where_a_model_is_asked(model: str, path: bytes, body: dict[str, Any], described: bytes) -> None:
    name = ModelName.read(model)
    assert name.create() == (path, body)
    assert name.described() == described


@pytest.mark.parametrize("model", ["", "llama", "a/b/c", "/b"])
def test_what_names_no_model(model: str) -> None:
    with pytest.raises(ValueError, match="owner/name"):
        ModelName.read(model)


BASE = UpstreamUrl.parse("https://api.replicate.com/v1")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://api.replicate.com/v1/predictions/1", b"/v1/predictions/1"),
        ("https://stream.replicate.com/v1/files/x?token=1", b"/v1/files/x?token=1"),
        ("http://stream.replicate.com/v1", None),
        ("https://stream.replicate.com:8443/v1", None),
        ("https://stream.replicate.com.evil.example/v1", None),
        ("https://evil.example/v1", None),
        ("https://user@api.replicate.com/v1", None),
        ("ftp://api.replicate.com/v1", None),
        ("//api.replicate.com/v1", None),
        (None, None),
    ],
)
def test_the_key_goes_only_where_it_belongs(url: Any, path: bytes | None) -> None:
    found = followed(url, BASE, ["*.replicate.com"])
    assert (found[1] if found else None) == path
