"""Config files, environment, places, and the secret type that never prints."""
