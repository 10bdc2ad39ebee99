"""Perplexity's chat: OpenAI's with rules of turns, searches and sources."""
