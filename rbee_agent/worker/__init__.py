"""One engine behind HTTP: load, ready, execute, cancel, shut down."""
