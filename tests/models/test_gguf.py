"""What a model's file says of itself, and what is refused by name."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from rbee_agent.errors import NotFound, RbeeError, Refused
from rbee_agent.hive.shelf import Shelf
from rbee_agent.models.estimate import PROCESS_OVERHEAD, estimate
from rbee_agent.models.facts import read_facts
from rbee_agent.models.fingerprint import fingerprint
from rbee_agent.models.gguf_header import read_layout
from rbee_agent.models.parts import part_names, parts
from rbee_agent.runtime.clock import SystemClock
from rbee_agent.settings.places import Places
from tests.gguf_files import write_gguf


@pytest.fixture
def shelf(places: Places) -> Shelf:
    """An empty one."""
    return Shelf(places, SystemClock())


@pytest.mark.model
def test_the_demo_model_s_facts(demo_model: Path) -> None:
    """Architecture, quantisation, context, layers, heads, vocabulary, template."""
    facts = read_facts(demo_model)

    assert (facts.architecture, facts.quantization) == ("llama", "Q4_1")
    assert (facts.context_length, facts.layers) == (8192, 30)
    assert (facts.heads, facts.heads_kv, facts.key_length) == (9, 3, 64)
    assert (facts.embedding_length, facts.vocab_size) == (576, 49152)
    assert facts.has_chat_template
    assert facts.size == demo_model.stat().st_size
    assert 134_000_000 < facts.parameters < 135_000_000
    assert 0 < facts.tensor_bytes < facts.size


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.9, 0.999])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path, share: float) -> None:
    """Header or tensors: never half a model, and the sentence names the file."""
    path = write_gguf(tmp_path / "whole.gguf")
    data = path.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(Refused, match=r"cut\.gguf"):
        read_facts(cut)


def test_bytes_that_are_no_header_are_refused(tmp_path: Path) -> None:
    """Whatever is flipped in a header: facts, or a refusal; never another error, never a hang."""
    path = write_gguf(tmp_path / "whole.gguf")
    data = bytearray(path.read_bytes())
    header = read_layout(path).data_offset
    dice = random.Random(7)
    bad = tmp_path / "bad.gguf"
    refused = 0
    for _ in range(150):
        copy = bytearray(data)
        for _ in range(dice.randrange(1, 4)):
            copy[dice.randrange(4, header)] = dice.randrange(256)
        bad.write_bytes(copy)
        with suppress(Refused):
            read_facts(bad)
            fingerprint(bad)
            continue
        refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is no GGUF file"),
        (b"GGUF", "cut short or damaged"),
        (b"GGUF" + b"\xff" * 64, "cut short or damaged"),
        (b"<!DOCTYPE html>", "does not begin with GGUF"),
    ],
)
def test_what_is_no_model(tmp_path: Path, data: bytes, says: str) -> None:
    """By name and with the reason."""
    path = tmp_path / "page.gguf"
    path.write_bytes(data)

    with pytest.raises(Refused, match=rf"page\.gguf.*{says}"):
        read_facts(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A path that names nothing, or a folder."""
    with pytest.raises(Refused, match="there is no file") as refusal:
        read_facts(tmp_path / "none.gguf")
    assert refusal.value.code == "MODEL_NOT_FOUND"
    with pytest.raises(Refused, match="cannot be read"):
        read_facts(tmp_path)


def test_the_fingerprint_is_of_the_bytes(tmp_path: Path) -> None:
    """The same for a copy and a link, another for other weights, header or size."""
    first = write_gguf(tmp_path / "a.gguf")
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(first.read_bytes())
    (tmp_path / "link.gguf").symlink_to(first)
    others = [
        write_gguf(tmp_path / "b.gguf", seed=2),
        write_gguf(tmp_path / "c.gguf", context=8192),
        write_gguf(tmp_path / "d.gguf", rows=65),
    ]

    assert fingerprint(first) == fingerprint(copy) == fingerprint(tmp_path / "link.gguf")
    assert len({fingerprint(path) for path in [first, *others]}) == 4


def test_split_names() -> None:
    """As gguf-split writes them; anything else is one file."""
    assert part_names("m-00001-of-00003.gguf") == [
        "m-00001-of-00003.gguf",
        "m-00002-of-00003.gguf",
        "m-00003-of-00003.gguf",
    ]
    assert part_names("m-00001-of-00001.gguf") == ["m-00001-of-00001.gguf"]
    assert part_names("m-1-of-3.gguf") == ["m-1-of-3.gguf"]


def test_a_split_model_needs_all_its_parts_and_the_first(tmp_path: Path) -> None:
    """A missing part is named; so is the first, where another was given."""
    made = [
        write_gguf(tmp_path / f"m-{n + 1:05}-of-00003.gguf", part=(n, 3), seed=n) for n in range(3)
    ]
    whole = fingerprint(made[0])
    assert parts(made[0]) == made
    assert read_facts(made[0]).size == sum(path.stat().st_size for path in made)

    with pytest.raises(Refused, match=r"not the first part.*give m-00001-of-00003\.gguf"):
        read_facts(made[1])
    write_gguf(made[2], part=(2, 3), seed=99)
    assert fingerprint(made[0]) != whole
    made[1].unlink()
    with pytest.raises(Refused, match=r"m-00002-of-00003\.gguf is not beside it"):
        read_facts(made[0])


def test_registered_is_known_to_every_shelf(shelf: Shelf, places: Places, tmp_path: Path) -> None:
    """Daemon and command line share one list; a change is seen without a restart."""
    other = Shelf(places, SystemClock())
    assert other.all() == []

    file = shelf.register("tiny", write_gguf(tmp_path / "tiny.gguf"))

    assert other.get("tiny") == file
    assert (places.data / "models.json").stat().st_mode & 0o777 == 0o600
    other.remove("tiny", delete=True)
    assert shelf.get("tiny") is None


def test_a_file_that_shrank_is_gone_and_told(shelf: Shelf, tmp_path: Path) -> None:
    """It is not offered any more; asked for, it says how long it was."""
    path = write_gguf(tmp_path / "tiny.gguf")
    size = shelf.register("tiny", path).size
    path.write_bytes(path.read_bytes()[:1000])

    assert (shelf.get("tiny"), shelf.all()) == (None, [])
    with pytest.raises(NotFound, match=f"cut short: .* had {size} bytes"):
        shelf.verify("tiny")


@pytest.mark.parametrize(
    ("asked", "near"),
    [("Tiny-Q8", "tiny-q8_0"), ("tinyq80", "tiny-q8_0"), ("q4", "tiny-q4_k_m"), ("zzz", None)],
)
def test_a_name_that_almost_exists(
    shelf: Shelf, tmp_path: Path, asked: str, near: str | None
) -> None:
    """The likest first, whatever the case; where nothing is like it, all that there is."""
    for name in ("tiny-q4_k_m", "tiny-q8_0"):
        shelf.register(name, write_gguf(tmp_path / f"{name}.gguf"))

    error = shelf.missing(asked)

    if near is None:
        assert "there are: tiny-q4_k_m, tiny-q8_0" in error.message
    else:
        assert error.details is not None
        assert error.details["nearest"][0] == near


def test_verify_learns_and_holds_on(shelf: Shelf, tmp_path: Path) -> None:
    """The first hashing is the promise; any other byte later is damage, also in the middle."""
    path = write_gguf(tmp_path / "tiny.gguf", rows=8192)
    shelf.register("tiny", path)
    first = shelf.verify("tiny")
    assert (first["ok"], first["expected"]) == (True, None)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"!!!!")

    second = shelf.verify("tiny")

    assert second["ok"] is False
    assert second["expected"] == first["sha256"] != second["sha256"]


def test_two_names_of_one_file(shelf: Shelf, tmp_path: Path) -> None:
    """The bytes stay as long as anybody knows them, and go with the last name."""
    path = write_gguf(tmp_path / "tiny.gguf")
    shelf.register("brought", path, brought=[path])
    shelf.register("alias", path)

    shelf.remove("brought", delete=True)
    assert path.exists()
    shelf.remove("alias", delete=True)

    assert not path.exists()


def test_the_estimate_grows_with_what_it_is_asked_for(tmp_path: Path) -> None:
    """Weights once, a key and a value for each token of each slot."""
    facts = read_facts(write_gguf(tmp_path / "tiny.gguf"))
    one = estimate(facts, context=1024, slots=1)
    four = estimate(facts, context=1024, slots=4)
    small = estimate(facts, context=1024, slots=1, kv_type="q8_0")

    assert one.weights == 64 * 256 * 4
    assert one.kv == 2 * 1024 * 2 * (64 + 64) * 2
    assert four.kv == 4 * one.kv
    assert small.kv == one.kv * 17 // 32
    assert one.total == one.weights + one.kv + one.compute + PROCESS_OVERHEAD


def test_a_list_that_is_torn_is_no_list(places: Places, tmp_path: Path) -> None:
    """Half a file is read as none, and the next registration makes it whole."""
    (places.data).mkdir(parents=True)
    (places.data / "models.json").write_text('{"models": {"a"')
    shelf = Shelf(places, SystemClock())

    assert shelf.all() == []
    shelf.register("tiny", write_gguf(tmp_path / "tiny.gguf"))
    assert [file.id for file in shelf.all()] == ["tiny"]
    assert not isinstance(shelf.missing("x"), RbeeError) or shelf.missing("x").exit_code == 3
