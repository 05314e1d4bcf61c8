"""Tokens from a model file. Knows no HTTP."""

from rbee_agent.engine.engine import Engine
from rbee_agent.engine.llama import EngineLoadError, on_abort
from rbee_agent.engine.options import EngineOptions, EngineStats
from rbee_agent.engine.sink import Sink

__all__ = ["Engine", "EngineLoadError", "EngineOptions", "EngineStats", "Sink", "on_abort"]
