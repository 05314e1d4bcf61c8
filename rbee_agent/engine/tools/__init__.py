"""Tools: offered in the prompt, called under a grammar, and calls read out of what models write."""
