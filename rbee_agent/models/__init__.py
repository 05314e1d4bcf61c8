"""Model references and aliases, GGUF facts, fingerprint, memory estimate."""
