"""The queen's HTTP routes; they translate and decide nothing."""
