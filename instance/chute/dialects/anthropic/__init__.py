"""Anthropic Messages: spoken to providers of that dialect (requests out, answers in) and to callers (the other way round)."""
