"""What the providers share that speak OpenAI's chat with differences: pure, one concept a file."""
