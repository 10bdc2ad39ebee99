"""The providers of the table of SDKs: one for each dialect that a provider can speak, all played by the mock upstream."""

from __future__ import annotations

from dataclasses import dataclass, field

from instance.mock_upstream.server import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.mock_upstream import MockUpstream

KEY = "key-of-the-sdk-table-1"


@dataclass(frozen=True, slots=True)
class PlayedProvider:
    """One provider: its name in the table, its dialect, and what it calls its models."""

    name: str
    dialect: str
    chat: str
    embeddings: str = ""
    image: str = ""
    speech: str = ""
    transcription: str = ""
    moderation: str = ""
    rerank: str = ""
    vision: str = ""
    """Another model where the chat model sees nothing."""
    more: dict[str, str] = field(default_factory=dict)
    """Further lines of its table in stockyard.toml."""

    def config(self, mock: MockUpstream) -> str:
        """Its part of stockyard.toml."""
        lines = {
            "type": f'"{self.dialect}"',
            "base_url": f'"{mock.at(self.dialect)}"',
            "api_key": f'"{KEY}"',
            **self.more,
        }
        return f"[providers.{self.name}]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())


PROVIDERS = (
    PlayedProvider(
        "openai",
        "openai",
        "gpt-4o-mini",
        embeddings="text-embedding-3-small",
        image="gpt-image-1",
        speech="tts-1",
        transcription="whisper-1",
        moderation="omni-moderation-latest",
    ),
    PlayedProvider("anthropic", "anthropic", "claude-sonnet-4-5"),
    PlayedProvider(
        "gemini",
        "gemini",
        "gemini-2.5-flash",
        embeddings="gemini-embedding-001",
        image="imagen-4.0-generate-001",
    ),
    PlayedProvider("bedrock", "bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
    PlayedProvider(
        "azure",
        "azure",
        "gpt-4o",
        embeddings="text-embedding-3-small",
        image="dall-e-3",
        speech="tts",
        transcription="whisper",
    ),
    PlayedProvider(
        "mistral",
        "mistral",
        "mistral-small-latest",
        embeddings="mistral-embed",
        transcription="voxtral-mini-latest",
        moderation="mistral-moderation-latest",
    ),
    PlayedProvider("cohere", "cohere", "command-a-03-2025", embeddings="embed-v4.0", rerank="rerank-v3.5"),
    PlayedProvider("ollama", "ollama", "llama3.2", embeddings="nomic-embed-text"),
    PlayedProvider("groq", "groq", "llama-3.3-70b-versatile", speech="playai-tts", transcription="whisper-large-v3"),
    PlayedProvider(
        "together",
        "together",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        embeddings="BAAI/bge-base-en-v1.5",
        image="black-forest-labs/FLUX.1-schnell",
        speech="cartesia/sonic",
        transcription="openai/whisper-large-v3",
    ),
    PlayedProvider("deepseek", "deepseek", "deepseek-chat"),
    PlayedProvider("fireworks", "fireworks", "llama-v3p1-8b-instruct", embeddings="nomic-ai/nomic-embed-text-v1.5"),
    PlayedProvider(
        "replicate",
        "replicate",
        "meta/meta-llama-3-8b-instruct",
        image="black-forest-labs/flux-schnell",
        vision="anthropic/claude-4-sonnet",
    ),
    PlayedProvider("perplexity", "perplexity", "sonar"),
)

BEDROCK_CREDENTIALS = {"access_key": ACCESS_KEY_ID, "secret_key": SECRET_ACCESS_KEY}
