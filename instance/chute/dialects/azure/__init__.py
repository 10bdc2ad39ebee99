"""Azure OpenAI: OpenAI's API behind deployments, versions and content filters."""
