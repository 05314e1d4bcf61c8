"""Columns, styles and verbs for each noun."""
