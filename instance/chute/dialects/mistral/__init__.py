"""Mistral's chat: OpenAI's with stricter bodies, ids of nine characters and content in parts."""
