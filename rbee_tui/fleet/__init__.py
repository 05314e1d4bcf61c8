"""A host's life from bare to serving."""
