"""The commands of ``rbee-hive``: through the daemon where one runs, on its records where not."""
