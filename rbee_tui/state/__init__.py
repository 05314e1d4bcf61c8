"""Pure: the fleet's snapshot and how events change it."""
