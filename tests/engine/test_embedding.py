"""Embeddings and rerank scores from real weights whose file says how they are pooled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest

from rbee_agent.contracts.workers import ExecuteRequest
from rbee_agent.engine import Engine
from rbee_agent.engine.context import Context
from rbee_agent.engine.embedding import Embedder
from rbee_agent.engine.llama import Model
from rbee_agent.engine.options import EngineOptions
from rbee_agent.errors import RbeeError
from tests.engine_harness import Run, running, submit
from tests.pooled_model import ranking_head, write_pooled_model

pytestmark = pytest.mark.model

MEAN, LAST = 1, 3


def write_pooled(source: Path, path: Path) -> None:
    """The same model with one key more: the mean of its tokens is its embedding."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        writer.add_key_value(
            name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None
        )
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def mean_file(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pooled by the mean of all tokens."""
    path = tmp_path_factory.mktemp("pooled") / "mean.gguf"
    write_pooled(demo_model, path)
    return path


@pytest.fixture(scope="module")
def last_file(mean_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pooled by the last token."""
    path = tmp_path_factory.mktemp("pooled") / "last.gguf"
    whole, key = mean_file.read_bytes(), b"llama.pooling_type"
    at = whole.index(key) + len(key) + 4
    path.write_bytes(whole[:at] + LAST.to_bytes(4, "little") + whole[at + 4 :])
    return path


@pytest.fixture(scope="module", params=["mean", "last"])
def pooled(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine whose model embeds, in one way and in the other."""
    path = request.getfixturevalue(f"{request.param}_file")
    with running(EngineOptions(model_path=path, context=256, slots=1, threads=1)) as engine:
        yield engine


def vectors(engine: Engine, *inputs: str) -> list[Any]:
    """One vector for each input."""
    run = submit(engine, job_id="e", workload="embedding", inputs=list(inputs)).wait()
    assert [one["index"] for one in run.results] == list(range(len(inputs)))
    return [np.array(one["embedding"]) for one in run.results]


def test_near_texts_have_near_vectors(pooled: Engine) -> None:
    """Unit length, the same for the same text, nearer for the like than for the unlike."""
    cat, kitten, stock = vectors(
        pooled,
        "The cat sleeps on the warm sofa in the evening.",
        "A kitten sleeps on the warm sofa in the evening.",
        "Shares of the bank fell by twelve percent.",
    )

    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-5)
    assert cat @ kitten > cat @ stock
    assert np.array_equal(vectors(pooled, "again")[0], vectors(pooled, "again")[0])


def test_a_long_input_is_like_its_parts_read_together(pooled: Engine) -> None:
    """Longer than a chunk: computed in parts where tokens only look back, in one call else."""
    text = "tree " * 150
    long = vectors(pooled, text)[0]

    assert np.linalg.norm(long) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(long, vectors(pooled, "x", text)[1])


def test_the_bill_and_the_order_of_frames(pooled: Engine) -> None:
    """Accepted comes first with the count that the end repeats."""
    order: list[str] = []

    class Noted(Run):
        def accepted(self, tokens_in: int, prompt_ids_sha256: str | None = None) -> None:
            order.append("accepted")
            super().accepted(tokens_in, prompt_ids_sha256)

        def result(self, data: list[dict[str, Any]]) -> None:
            order.append("result")
            super().result(data)

    run = Noted()
    pooled.submit(ExecuteRequest(job_id="n", workload="embedding", inputs=["a b c", "d"]), run)
    end = run.wait().finished

    assert order == ["accepted", "result"]
    assert end is not None
    assert end.tokens_in == run.tokens_in > 3


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"workload": "embedding", "inputs": ["word " * 9000]}, "context holds"),
        ({"workload": "embedding", "inputs": ["fine", ""]}, "empty"),
        ({"workload": "rerank", "inputs": ["x"], "query": "q"}, "embeds"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    pooled: Engine, said: dict[str, Any], problem: str
) -> None:
    """Before any work, with the reason; never cut."""
    with pytest.raises(RbeeError, match=problem):
        submit(pooled, job_id="bad", **said)


def test_an_embedding_can_be_cancelled_and_has_a_deadline(pooled: Engine) -> None:
    """Between inputs or in the middle of one; the engine goes on."""
    many = ["tree " * 200] * 20
    cancelled = submit(pooled, job_id="c", workload="embedding", inputs=many)
    assert pooled.cancel("c")
    late = submit(pooled, job_id="l", workload="embedding", inputs=many, deadline_ms=0)

    for run, code in ((cancelled, "CANCELLED"), (late, "DEADLINE_EXCEEDED")):
        failed = run.settle().failed
        assert failed is not None
        assert failed.code == code
    assert len(vectors(pooled, "after")) == 1


def test_a_worker_that_stops_ends_its_embeddings(mean_file: Path) -> None:
    """Nobody waits for an answer that will not come."""
    with running(EngineOptions(model_path=mean_file, context=256, slots=1, threads=1)) as engine:
        run = submit(engine, job_id="e", workload="embedding", inputs=["tree " * 200] * 50)

    failed = run.settle().failed
    assert failed is not None
    assert failed.code == "WORKER_RESET"


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A real encoder with a ranking head."""
    path = tmp_path_factory.mktemp("ranking") / "rank.gguf"
    write_pooled_model(path, gguf.PoolingType.RANK)
    with running(EngineOptions(model_path=path, slots=1, threads=1)) as engine:
        yield engine


def scores(engine: Engine, query: str, *texts: str) -> list[float]:
    """One score for each text."""
    run = submit(engine, job_id="r", workload="rerank", query=query, inputs=list(texts)).wait()
    assert [one["index"] for one in run.results] == list(range(len(texts)))
    return [one["score"] for one in run.results]


def test_scores_are_those_of_the_head(ranking: Engine, tmp_path: Path) -> None:
    """The same weights pooled at their first token, the head computed by numpy: the same score."""
    path = tmp_path / "first.gguf"
    write_pooled_model(path, gguf.PoolingType.CLS)
    options = EngineOptions(model_path=path, slots=1, threads=1)
    texts = ["a bee flies home", "stocks fell", "bees"]
    found = scores(ranking, "where do bees live?", *texts)

    head = ranking_head()
    model = Model(options, lambda _: None)
    context = Context(model, options, sequences=1, context=256, threads=1, embeddings=True)
    for text, score in zip(texts, found, strict=True):
        words = [
            model.tokenize(one, add_special=False, parse_special=False)
            for one in ("where do bees live?", text)
        ]
        # Its file asks for no end behind the text.
        pair = [model.bos, *words[0], model.sep, *words[1]]
        context.decode_run(0, pair, 0, logits=True)
        first = context.embedding(0)
        assert first is not None
        inner = np.tanh(head["cls.weight"] @ first + head["cls.bias"])
        wanted = head["cls.output.weight"] @ inner + head["cls.output.bias"]
        assert score == pytest.approx(float(wanted[0]), abs=1e-3)
    context.close()
    model.close()
    assert len(set(found)) == len(found)


def test_a_score_depends_on_its_pair_alone(ranking: Engine) -> None:
    """In any order and company; another query gives other scores."""
    one, two = scores(ranking, "bees", "a hive of bees", "shares and bonds")

    assert scores(ranking, "bees", "shares and bonds", "honey", "a hive of bees")[::2] == [two, one]
    assert scores(ranking, "money", "a hive of bees") != [one]


def test_what_ranks_neither_embeds_nor_answers(ranking: Engine) -> None:
    """Refused before any work."""
    with pytest.raises(RbeeError, match="this model ranks"):
        submit(ranking, job_id="e", workload="embedding", inputs=["x"])
    with pytest.raises(RbeeError, match="encoder"):
        submit(ranking, job_id="c", prompt="x")


@pytest.mark.parametrize(("pooling", "calls"), [(MEAN, [200]), (LAST, [64, 64, 64, 8])])
def test_only_what_looks_back_is_read_in_parts(pooling: int, calls: list[int]) -> None:
    """A mean over parts would be the mean of the last part."""
    made: list[int] = []
    context: Any = SimpleNamespace(
        pooling=pooling,
        has_memory=True,
        clear=lambda: None,
        interrupt=lambda _: None,
        decode_run=lambda seq, tokens, start, logits: made.append(len(tokens)),
        embedding=lambda seq: np.ones(4),
    )
    model: Any = SimpleNamespace(
        pooling=pooling, decodes=True, tokenize=lambda text, **_: list(range(len(text.split())))
    )
    embedder = Embedder(model, lambda: context, chunk=64)
    run = Run()
    embedder.submit(
        ExecuteRequest(job_id="e", workload="embedding", inputs=["x " * 200]), run, limit=512
    )
    while embedder.step():
        pass

    assert made == calls
    assert run.wait().results[0]["tokens"] == 200
