"""Distributed tracing: W3C trace context in and out, spans of a call, their table and their export."""
