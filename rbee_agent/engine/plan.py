"""What a request means for the engine: the prompt's text, the grammar, and how to read the answer.

Everything here is decided before any work is done, so that what cannot be done is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine.answer import Answer, Vocabulary
from rbee_agent.engine.template import ChatTemplate, Prompt
from rbee_agent.engine.tools.calls import long_id, short_id
from rbee_agent.engine.tools.constrain import add_calls, rest_of_call
from rbee_agent.engine.tools.parse import OutputParser
from rbee_agent.engine.tools.styles import Style
from rbee_agent.grammar import Grammar, compile_schema, text_up_to
from rbee_agent.grammar.gbnf import EMPTY, Expr, Lit, alt, optional, rep, seq
from rbee_agent.grammar.offer import Offer
from rbee_agent.grammar.wanted import FIELD, check, wanted_schema


@dataclass(frozen=True, slots=True)
class Plan:
    """How one request is worked on."""

    text: str | None
    """The rendered conversation; None for a plain prompt."""
    grammar: str | None
    offer: Offer
    style: Style
    opened: str | None = None
    """The mark that ends the thought which the prompt has begun."""
    thinks: bool = False

    def answer(self, vocabulary: Vocabulary, request: ExecuteRequest) -> Answer:
        """A fresh reader of the answer."""
        if self.text is None:
            return Answer(vocabulary, stop=request.stop)
        made = short_id if self.style.short_ids else long_id
        parser = OutputParser(
            self.style,
            tools={tool.name: tool.parameters for tool in self.offer.tools},
            opened=self.opened,
            thinks=self.thinks,
            call_id=partial(made, request.job_id),
        )
        one = bool(self.offer.tools) and not self.offer.several
        return Answer(vocabulary, stop=request.stop, parser=parser, one_call=one)

    def rest_of_call(self, tool: str, before: str) -> str:
        """The grammar of a call that the model has begun; see :func:`rest_of_call`."""
        (called,) = (one for one in self.offer.tools if one.name == tool)
        return rest_of_call(called, before)


def plan_of(request: ExecuteRequest, template: ChatTemplate) -> Plan:
    """Decide how to work on a request.

    Raises:
        InvalidParams: tools, schema or messages that will not do, each with its name.
    """
    offer = check(
        response_format=request.response_format,
        grammar=request.grammar,
        tools=request.tools,
        tool_choice=request.tool_choice,
        has_messages=request.messages is not None,
    )
    prompt = None
    if request.messages is not None:
        tools = request.tools if offer.tools else None
        variables = template.told(request, request.chat_template_kwargs)
        prompt = template.render(request.messages, tools, variables)
    rules = answer_grammar(request, offer, prompt)
    grammar = request.grammar if rules is None else rules.text("answer")
    if prompt is None:
        return Plan(None, grammar, offer, template.style)
    return Plan(prompt.text, grammar, offer, prompt.style, prompt.opened, prompt.thinks)


def answer_grammar(request: ExecuteRequest, offer: Offer, prompt: Prompt | None) -> Grammar | None:
    """Rules of the answer, named ``answer``; None where it may be anything.

    It is a value, or calls, or either, behind a thought where there is one.
    """
    schema = wanted_schema(request.response_format)
    if schema is None and not offer.must:
        return None
    grammar = Grammar()
    options: list[Expr] = []
    if schema is not None and not offer.must:
        value = compile_schema(schema, grammar, field=FIELD, prefix="s")
        before = prompt.style.before_text if prompt is not None else ""
        options.append(seq(Lit(before), value) if before else value)
    callable_ = offer.must or offer.tools
    if callable_ and prompt is not None:
        options.append(add_calls(grammar, prompt.style, callable_, several=offer.several))
    thought = _thought(grammar, prompt) if prompt is not None else EMPTY
    grammar.rules["answer"] = seq(thought, alt(*options))
    return grammar


def _thought(grammar: Grammar, prompt: Prompt) -> Expr:
    """The rest of the thought that the prompt began, or one that the model may have."""
    space = rep(Lit("\n"), 0, 2)
    if prompt.opened is not None:
        return seq(text_up_to(grammar, prompt.opened, "o"), space)
    if not prompt.thinks:
        return EMPTY
    thoughts = [
        seq(Lit(begin), text_up_to(grammar, end, f"o{place}x"), space)
        for place, (begin, end) in enumerate(prompt.style.thoughts)
    ]
    return optional(alt(*thoughts)) if thoughts else EMPTY
