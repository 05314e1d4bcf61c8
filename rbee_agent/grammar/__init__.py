"""JSON Schema, patterns and numbers as GBNF: what an answer must be, as a grammar. Pure."""

from rbee_agent.grammar.compile import compile_schema, schema_grammar
from rbee_agent.grammar.gbnf import Grammar
from rbee_agent.grammar.letters import text_up_to

__all__ = ["Grammar", "compile_schema", "schema_grammar", "text_up_to"]
