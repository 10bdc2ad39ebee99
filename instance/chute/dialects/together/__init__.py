"""Together's chat and images: OpenAI's with other names."""
