"""What only a worker of a model can say: its tokens, its chat template.

It is no work for the queue: nothing is generated, and it takes milliseconds. Where no worker has
the model, it is loaded as a task would have it loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from rbee_agent.adapters.base import ModelWords, Target, TextAdapter, Token
from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.contracts.workers import TemplateRequest, WorkerState
from rbee_agent.errors import RbeeError, Refused, Unavailable
from rbee_agent.queen.api.call import answering
from rbee_agent.queen.api.routes import queen_of, who_of
from rbee_agent.queen.fleet import Worker
from rbee_agent.queen.service import Queen

LOAD_S = 3600.0
"""A model may have to be downloaded first; who does not want to wait hangs up."""


@dataclass(frozen=True, slots=True)
class ModelWorker:
    """A ready worker of a model, to be asked about texts."""

    worker: Worker
    adapter: TextAdapter
    target: Target

    async def tokenize(
        self, text: str, *, add_special: bool = False, parse_special: bool = True
    ) -> list[Token]:
        """A text as the model reads it."""
        return await self.adapter.tokenize(
            self.target, text, add_special=add_special, parse_special=parse_special
        )

    async def detokenize(self, tokens: list[int]) -> str:
        """The text that tokens show."""
        return await self.adapter.detokenize(self.target, tokens)

    async def prompt(self, asked: TemplateRequest) -> str:
        """The prompt that a conversation becomes."""
        return await self.adapter.apply_template(self.target, asked)

    async def words(self) -> ModelWords:
        """What the model's file says of chats."""
        return await self.adapter.words(self.target)

    async def count(self, asked: TemplateRequest) -> int:
        """How many tokens a conversation is, as the bill will say."""
        text = await self.prompt(asked)
        plain = await self.tokenize(text)
        # The model's own first token goes in front unless the template has written it.
        begun = await self.tokenize(text[:64], add_special=True)
        return len(plain) + (begun[0].id != plain[0].id if plain and begun else 0)


async def worker_of(request: web.Request, name: str) -> ModelWorker:
    """A ready worker of the model that a request names; it is loaded where there is none.

    Raises:
        RbeeError: there is no such model, or it cannot be loaded.
    """
    queen = queen_of(request)
    model = queen.catalog.resolve(name, who_of(request))
    worker = ready_worker(queen, model)
    if worker is None:
        await load(request, model)
        worker = ready_worker(queen, model)
    if worker is None:
        raise Unavailable(f"the worker of {model} was gone again at once", retry_after_ms=1000)
    adapter, target = queen.attempts.reach(worker)
    if not isinstance(adapter, TextAdapter):
        raise Refused(
            f"{model} runs on an engine behind the OpenAI API, which tells neither its tokens nor "
            "its chat template"
        )
    return ModelWorker(worker, adapter, target)


def ready_worker(queen: Queen, model: str) -> Worker | None:
    """The ready worker of a model that has least to do."""
    ready = [
        worker
        for worker in queen.registry.workers.values()
        if worker.info.model == model
        and worker.info.state is WorkerState.READY
        and worker.trouble is None
    ]
    return min(ready, key=lambda worker: (len(worker.in_flight), worker.info.id), default=None)


async def load(request: web.Request, model: str) -> None:
    """Return when a worker has the model: the way of a task, ended when a worker takes it.

    Raises:
        RbeeError: it cannot be loaded, or admission refuses.
    """
    queen = queen_of(request)
    if ready_worker(queen, model) is not None:
        return
    task = TaskRequest(model=model, prompt=" ", max_tokens=1)
    async with answering(request, [task]) as answer:
        try:
            await answer.accepted(LOAD_S)
        except RbeeError:
            # A model that only embeds refuses to go on behind a text, but is loaded by then.
            if ready_worker(queen, model) is None:
                raise
