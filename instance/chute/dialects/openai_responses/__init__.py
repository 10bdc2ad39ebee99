"""OpenAI Responses: `POST /v1/responses` in front of any provider of chat, and as it is in front of one that speaks it."""
