"""The agents of rbee: queen, hive and worker, and everything they share.

The rooms and the directions of their imports are drawn in docs/architecture.md.
"""

__version__ = "0.1.0"
