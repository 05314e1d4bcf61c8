"""What a request means for the engine: the prompt's text, the grammar, and how to read the answer.

Everything here is decided before any work is done, so that what cannot be done is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine.answer import Answer, Vocabulary
from rbee_agent.engine.schema import grammar_for
from rbee_agent.engine.template import ChatTemplate
from rbee_agent.engine.tools.calls import long_id, short_id
from rbee_agent.engine.tools.constrain import calls_grammar
from rbee_agent.engine.tools.offer import Offer, read_offer
from rbee_agent.engine.tools.parse import OutputParser
from rbee_agent.engine.tools.styles import Style
from rbee_agent.errors import InvalidParams


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


def plan_of(request: ExecuteRequest, template: ChatTemplate) -> Plan:
    """Decide how to work on a request.

    Raises:
        InvalidParams: tools, schema or messages that will not do, each with its name.
    """
    offer = read_offer(request.tools, request.tool_choice)
    if request.messages is None:
        if request.tools:
            raise InvalidParams(
                [{"field": "tools", "constraint": "tools", "message": "tools need messages"}]
            )
        grammar = request.grammar or grammar_for(request.response_format)
        return Plan(None, grammar, offer, template.style)
    tools = request.tools if offer.tools else None
    prompt = template.render(request.messages, tools)
    if offer.must:
        grammar = calls_grammar(prompt.style, offer.must, several=offer.several)
    else:
        grammar = request.grammar or grammar_for(request.response_format)
    return Plan(prompt.text, grammar, offer, prompt.style, prompt.opened, prompt.thinks)
