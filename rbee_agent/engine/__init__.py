"""Tokens from a model file. Knows no HTTP."""
