"""Clock, child processes, signals and structured shutdown."""
