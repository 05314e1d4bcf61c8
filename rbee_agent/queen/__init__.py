"""The brain: a task goes admission, queue, placement, dispatch, relay, caller."""
