"""Groq's chat: OpenAI's with gaps, and tool calls that sometimes come back as failed text."""
