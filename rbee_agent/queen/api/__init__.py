"""The queen's routes: they translate between HTTP and the queen's parts and decide nothing."""
