"""Reusable widgets that know no rbee noun."""
