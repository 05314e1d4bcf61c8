"""Theme files: found, validated, loaded, watched."""
