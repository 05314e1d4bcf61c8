"""One small interface to whatever computes tokens; one file per kind of engine."""
