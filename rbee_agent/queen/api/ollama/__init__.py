"""Ollama's API over the same admission, queue and placement as /v2."""
