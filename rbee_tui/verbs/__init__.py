"""One registry of everything an operator can do."""
