"""Headless commands: results to stdout, the rest to stderr."""
