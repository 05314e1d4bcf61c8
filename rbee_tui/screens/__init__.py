"""Screens put panes together."""
