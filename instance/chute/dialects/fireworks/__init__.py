"""Fireworks' chat: OpenAI's with long names of models and own limits."""
