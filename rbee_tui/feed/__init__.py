"""The live link to the queen's event feed."""
