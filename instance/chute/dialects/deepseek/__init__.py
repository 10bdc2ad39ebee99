"""DeepSeek's chat: OpenAI's with thinking text that must not come back."""
