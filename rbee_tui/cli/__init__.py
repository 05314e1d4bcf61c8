"""Headless commands, one file per group; results to stdout, the rest to stderr."""
