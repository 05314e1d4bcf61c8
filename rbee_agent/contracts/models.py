"""Models: what they are called, where they come from, what their files say of themselves."""

from __future__ import annotations

from typing import Literal

from rbee_agent.contracts.base import Contract


class Source(Contract):
    """One place a model file can be had from; they are tried in order."""

    kind: Literal["hf", "https", "file", "wheel"]
    location: str
    """hf: ``org/repo``; https: URL; file: path; wheel: PyPI requirement ``name==version``."""
    file: str | None = None
    """hf: file name in the repository; wheel: path inside the wheel."""
    revision: str | None = None


class GgufFacts(Contract):
    """What a GGUF header tells, enough to estimate memory and to refuse early."""

    architecture: str
    name: str | None = None
    quantization: str | None = None
    parameters: int = 0
    size: int
    """Bytes of the file(s)."""
    tensor_bytes: int = 0
    layers: int = 0
    embedding_length: int = 0
    feed_forward_length: int = 0
    heads: int = 0
    heads_kv: int = 0
    key_length: int = 0
    value_length: int = 0
    context_length: int = 0
    sliding_window: int | None = None
    vocab_size: int = 0
    expert_count: int = 0
    has_chat_template: bool = False
    pooling: str | None = None


class CatalogModel(Contract):
    """A model that the queen knows by name; `id` is the alias people type."""

    id: str
    sources: list[Source] = []
    sha256: str | None = None
    size: int | None = None
    license: str | None = None
    description: str | None = None
    state: Literal["Active", "Retired"] = "Active"
    facts: GgufFacts | None = None
    fingerprint: str | None = None
    idle_unload_s: int | None = None
    builtin: bool = False


class ModelFile(Contract):
    """A model that lies on one host's disk, checked and registered there."""

    id: str
    """The alias or reference it was asked for by."""
    path: str
    size: int
    fingerprint: str
    sha256: str | None = None
    facts: GgufFacts
    source: Source | None = None
    owned: bool = False
    """Downloaded by rbee (it may delete the file), not found or shared."""
    brought: list[str] = []
    """All that rbee itself put on the disk for it: files, their parts, links in a shared cache."""
    registered_at: float


class PullProgress(Contract):
    """One step of a download, as SSE and in the event feed."""

    model: str
    phase: Literal["resolve", "download", "extract", "verify", "register", "done", "error"]
    source: str | None = None
    done: int = 0
    total: int | None = None
    bytes_per_s: float | None = None
    error: str | None = None
    file: ModelFile | None = None


class Availability(Contract):
    """``GET /v2/catalog/availability``: the hosts that have each model."""

    models: dict[str, list[str]] = {}


class PullBegun(Contract):
    """The 202 of a pull: which host fetches."""

    model: str
    node_id: str


class Verdict(Contract):
    """What one host found when it hashed a model's bytes."""

    ok: bool
    sha256: str
    expected: str | None = None
    """None: nobody knew; the one found is kept from now on."""


class VerifyReport(Contract):
    """What every host that has a model found when it hashed the bytes."""

    model: str
    nodes: dict[str, Verdict] = {}

    @property
    def broken(self) -> list[str]:
        """The hosts where the bytes are not as they should be."""
        return [node_id for node_id, verdict in self.nodes.items() if not verdict.ok]
