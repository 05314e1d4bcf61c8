"""Theme files: found, validated, loaded."""
