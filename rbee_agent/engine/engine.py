"""The engine as its worker sees it: load a model, hand in requests, get frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from rbee_agent.contracts.workers import ExactProfile, ExecuteRequest, TemplateRequest
from rbee_agent.engine import devices, memory
from rbee_agent.engine.builtin_templates import TEMPLATES, template_for
from rbee_agent.engine.cache import KvCache
from rbee_agent.engine.context import Context
from rbee_agent.engine.embedding import Embedder
from rbee_agent.engine.job import Job
from rbee_agent.engine.llama import KV_TYPES, LOG, EngineLoadError, Model, build
from rbee_agent.engine.options import (
    DEFAULT_CONTEXT,
    EngineOptions,
    EngineStats,
    physical_cores,
)
from rbee_agent.engine.plan import Plan, plan_of
from rbee_agent.engine.proof import ProofBook
from rbee_agent.engine.sampling import Sampler
from rbee_agent.engine.scheduler import Scheduler
from rbee_agent.engine.sink import Sink
from rbee_agent.engine.template import ChatTemplate
from rbee_agent.errors import RbeeError, Refused
from rbee_agent.models.estimate import estimate
from rbee_agent.models.fingerprint import fingerprint

_EMBED_CONTEXT = 2048


class Engine:
    """One model. `load`, `start`, then any thread may `submit` and `cancel`; `close` ends it."""

    def __init__(self, options: EngineOptions) -> None:
        """Remember how to load; nothing is read yet."""
        self.options = options
        self.on_step: Callable[[], None] = _nothing
        """Called on the engine's thread behind each step: the moment to deliver what was made."""
        self.on_death: Callable[[str], None] = lambda _: None
        """Called on the engine's thread when a fault of ours ends it, with the reason."""
        self._model: Model | None = None
        self._context: Context | None = None
        self._scheduler: Scheduler | None = None
        self._embedder: Embedder | None = None
        self._proofs: ProofBook | None = None
        self._pieces: dict[int, bytes] = {}

    # -- life ---------------------------------------------------------------------------------

    def load(self, on_progress: Callable[[float], None]) -> None:
        """Read the file and make the buffers; blocks for as long as that takes.

        Args:
            on_progress: told the loaded part, 0 to 1, from this thread.

        Raises:
            Refused: the file is no GGUF, or cut short.
            EngineLoadError: llama.cpp refused it, or memory is too small.
        """
        options = self.options
        if options.kv_type not in KV_TYPES:
            raise EngineLoadError(f"kv-type is one of {', '.join(KV_TYPES)}")
        mark = fingerprint(options.model_path)
        self._model = model = Model(options, on_progress)
        threads = options.threads or physical_cores()
        context = options.context or min(model.context_length, DEFAULT_CONTEXT)
        self._context = self._make_context(context, threads)
        self._memory = memory.buffer_bytes(LOG.lines)
        self._offload = memory.offload(LOG.lines, model.n_layers)
        self._facts = _profile_facts(mark, options, threads)
        self._profile_id = _digest(self._facts)
        cache = KvCache(self._context, chunk=options.chunk, host_bytes=options.host_cache_bytes)
        self._cache = cache
        self._proofs = ProofBook(
            self._profile_id,
            context=self._context,
            cache=cache,
            chunk=options.chunk,
            folder=options.state_dir,
        )
        self._embed_limit = min(_EMBED_CONTEXT, model.context_length)
        self._embedder = Embedder(
            model,
            lambda: Context(
                model,
                options,
                sequences=1,
                context=self._embed_limit,
                threads=threads,
                embeddings=True,
            ),
            chunk=options.chunk,
        )
        self._template = _template(model, options.chat_template)
        self._scheduler = Scheduler(
            self._context,
            cache,
            self._proofs,
            self._embedder,
            chunk=options.chunk,
            profile_id=self._profile_id,
            on_step=lambda: self.on_step(),
            on_death=lambda reason: self.on_death(reason),
        )

    def start(self) -> None:
        """Begin to work on what is submitted."""
        self._ready().start()

    def drain(self, seconds: float) -> bool:
        """Wait until no job is left, at most so long; whether none is."""
        return self._scheduler.drain(seconds) if self._scheduler is not None else True

    def close(self) -> None:
        """End all jobs, the thread, and give the memory back; safe to call twice."""
        if self._scheduler is not None:
            self._scheduler.close()
        for part in (self._embedder, self._context, self._model):
            if part is not None:
                part.close()
        self._scheduler = self._embedder = self._context = self._model = None

    # -- work ---------------------------------------------------------------------------------

    def submit(self, request: ExecuteRequest, sink: Sink) -> None:
        """Check a request and queue it; its output goes to `sink`, beginning with `accepted`.

        Raises:
            RbeeError: what cannot be done, before any work: CONTEXT_LENGTH_EXCEEDED with both
                numbers, INVALID_PARAMS for a template, grammar or bias that will not do.
        """
        scheduler = self._ready()
        if request.workload in ("embedding", "rerank"):
            assert self._embedder is not None  # noqa: S101 - loaded together
            self._embedder.submit(request, sink, limit=self._embed_limit)
            scheduler.poke()
        else:
            job = self._job(request, sink)
            # Of the prompt alone: a job that goes on elsewhere reads known tokens behind it.
            sink.accepted(job.tokens_in, _ids_digest(job.prompt[: job.tokens_in]))
            try:
                scheduler.submit(job)
            except RbeeError:
                job.close()
                raise
        self.on_step()

    def cancel(self, job_id: str) -> bool:
        """End a job within one step, wherever it is; whether there was one."""
        return self._scheduler.cancel(job_id) if self._scheduler is not None else False

    # -- facts --------------------------------------------------------------------------------

    def stats(self) -> EngineStats:
        """Counters and gauges now; cheap."""
        if self._scheduler is None or self._context is None:
            return EngineStats()
        scheduler = self._scheduler
        return EngineStats(
            step=scheduler.steps,
            slots=self.options.slots,
            slots_busy=scheduler.busy,
            queued=scheduler.queued,
            context=self._context.context,
            device=self.options.device,
            offload=self._offload,
            memory=self._memory,
            kv_usage=self._cache.usage,
            tokens_in_total=scheduler.tokens_in,
            tokens_out_total=scheduler.tokens_out,
            tokens_cached_total=scheduler.tokens_cached,
            tokens_per_s=scheduler.rate(),
            decode_share=scheduler.inside_s / scheduler.busy_s if scheduler.busy_s else 0.0,
        )

    def profile(self) -> ExactProfile:
        """Within what strict streams are byte-exact, and what is proved in it."""
        proved = self._proofs.proved if self._proofs is not None else []
        return ExactProfile(id=self._profile_id, proved=proved, **self._facts)

    @property
    def proofs_complete(self) -> bool:
        """Whether every shortcut was tried under this profile."""
        return self._proofs is not None and self._proofs.complete

    def words(self) -> dict[str, str]:
        """What the model's file says of chats: its template, and how its two ends are written."""
        model = self._loaded()
        return {
            "chat_template": self._template.source,
            "bos": model.token_text(model.bos),
            "eos": model.token_text(model.eos),
            "build": build().partition(";")[0],
        }

    def tokenize(
        self, text: str, *, add_special: bool = False, parse_special: bool = False
    ) -> list[int]:
        """Token ids of a text."""
        return self._loaded().tokenize(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, tokens: list[int]) -> str:
        """The text that token ids show.

        Raises:
            Refused: an id that the vocabulary does not have.
        """
        size = self._loaded().n_vocab
        if any(not 0 <= token < size for token in tokens):
            raise Refused(f"token ids lie between 0 and {size - 1}")
        return b"".join(self.piece(token) for token in tokens).decode(errors="replace")

    def apply_template(self, asked: TemplateRequest) -> str:
        """The prompt that messages become.

        Raises:
            InvalidParams: the template refuses them.
        """
        self._loaded()
        variables = self._template.told(asked, asked.chat_template_kwargs)
        return self._template.render(asked.messages, asked.tools, variables).text

    def piece(self, token: int) -> bytes:
        """The bytes that a token shows (control tokens show none)."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._loaded().piece(token)
        return piece

    def control(self, token: int) -> str:
        """The name of a token that shows nothing; empty for others."""
        return "" if self.piece(token) else self._loaded().token_text(token)

    def ends(self, token: int) -> bool:
        """Whether a token ends an answer."""
        return token in self._loaded().end_tokens

    # -- inside -------------------------------------------------------------------------------

    def _make_context(self, context: int, threads: int) -> Context:
        """The KV cache and compute buffers, or what they need and what is free."""
        options, model = self.options, self._loaded()
        need = estimate(model.facts, context=context, slots=options.slots, kv_type=options.kv_type)
        free, place = memory.free_host_bytes(), "this host"
        gpus = devices.find(options.device, spread=bool(options.tensor_split))
        if gpus:
            free, place = sum(one.free for one in gpus), options.device
        lacks = EngineLoadError(
            memory.shortage(need, context=context, slots=options.slots, free=free, place=place),
            code="INSUFFICIENT_VRAM",
        )
        # Linux would promise a host's memory now and kill the process once it is written to.
        if not gpus and need.kv + need.compute > free:
            raise lacks
        try:
            return Context(
                model, options, sequences=options.slots, context=context, threads=threads
            )
        except EngineLoadError as error:
            raise lacks if need.kv + need.compute > free else error from error

    def _job(self, request: ExecuteRequest, sink: Sink) -> Job:
        model, context = self._loaded(), self._context
        assert context is not None  # noqa: S101 - loaded together
        kind = model.metadata("general.architecture")
        if model.metadata(f"{kind}.attention.causal") == "false":
            raise Refused("this model is an encoder: it gives embeddings, and no text")
        plan = plan_of(request, self._template)
        prompt = self._prompt_ids(plan, request)
        room = context.context - len(prompt)
        if room < 1 or len(request.resume_token_ids) > room:
            raise Refused(
                f"the prompt has {len(prompt)} tokens, the context holds {context.context} with "
                "the answer",
                code="CONTEXT_LENGTH_EXCEEDED",
                details={"tokens": len(prompt), "context": context.context},
            )
        sampler = Sampler(model, request.sampling, grammar=plan.grammar, prompt=prompt)
        answer = plan.answer(self, request)
        limit = min(request.max_tokens or room, room)
        return Job(
            request,
            prompt,
            sampler,
            sink,
            limit=limit,
            vocabulary=self,
            answer=answer,
            rest_of_call=plan.rest_of_call if plan.grammar is None and plan.offer.tools else None,
        )

    def _prompt_ids(self, plan: Plan, request: ExecuteRequest) -> list[int]:
        model = self._loaded()
        if plan.text is not None:
            text = plan.text
            # The template writes the special tokens itself, the beginning included.
            ids = model.tokenize(text, add_special=False, parse_special=True)
            wants_bos = model.adds_bos and model.bos >= 0
            ids = [model.bos, *ids] if wants_bos and ids[:1] != [model.bos] else ids
        else:
            ids = model.tokenize(request.prompt or "", add_special=True, parse_special=False)
        if not ids:
            raise Refused("the prompt is empty")
        return ids

    def _loaded(self) -> Model:
        if self._model is None:
            raise RbeeError("the model is not loaded", code="POOL_UNREADY")
        return self._model

    def _ready(self) -> Scheduler:
        if self._scheduler is None:
            raise RbeeError("the model is not loaded", code="POOL_UNREADY")
        return self._scheduler


def _template(model: Model, named: str | None) -> ChatTemplate:
    """The operator's template, else the file's, else the one that the vocabulary means.

    Raises:
        EngineLoadError: the operator's does not compile.
    """
    own = model.metadata("tokenizer.chat_template")
    for_tools = model.metadata("tokenizer.chat_template.tool_use")
    source = named or own or TEMPLATES[template_for(model.is_control)]
    made = ChatTemplate(
        source,
        bos=model.token_text(model.bos),
        eos=model.token_text(model.eos),
        for_tools=None if named or not own else for_tools,
    )
    if named and made.problem:
        raise EngineLoadError(made.problem)
    return made


def _profile_facts(mark: str, options: EngineOptions, threads: int) -> dict[str, Any]:
    said = build()
    return {
        "fingerprint": mark,
        "build": said.partition(";")[0],
        "device_kind": _device_kind(options, said.partition("; ")[2]),
        "threads": threads,
        "flash_attention": options.flash_attention,
        "kv_type": options.kv_type,
        "prefill_chunk": options.chunk,
    }


def _device_kind(options: EngineOptions, instructions: str) -> str:
    """What the arithmetic depends on: instruction sets, or GPUs and how the layers lie on them."""
    gpus = devices.find(options.device, spread=bool(options.tensor_split))
    if not gpus:
        return instructions
    kind = options.device.partition(":")[0]
    names = " + ".join(one.description for one in gpus)
    layers = "all" if options.gpu_layers is None else str(options.gpu_layers)
    parts = "" if not options.tensor_split else f", split {options.tensor_split}"
    return f"{kind}: {names}, {layers} layers{parts}"


def _digest(facts: dict[str, Any]) -> str:
    text = repr(sorted(facts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _ids_digest(ids: list[int]) -> str:
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def _nothing() -> None:
    """Nobody listens."""
