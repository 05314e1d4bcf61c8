"""The keeper: the control center and the same actions as headless commands."""
