"""Logging, narration, correlation, redaction, metrics."""
