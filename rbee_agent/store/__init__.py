"""What must outlive a process: tasks, nodes, keys in SQL, token journals in files."""
