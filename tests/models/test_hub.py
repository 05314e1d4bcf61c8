"""Hugging Face: which file, into the cache that other tools share, gone on with, checked."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import huggingface_hub
import pytest

from rbee_agent.contracts.models import Source
from rbee_agent.errors import NotFound, RbeeError, Refused, Unreachable
from rbee_agent.hive.hub import HubFile, cache_folder, choose
from tests.models.conftest import Home
from tests.models.hub_server import COMMIT, Hub
from tests.waiting import eventually

REPO = "org/tiny-GGUF"


async def test_a_quantisation_is_found_and_pulled(
    home: Home, hub: Hub, gguf_bytes: dict[str, bytes]
) -> None:
    """`user/repo:QUANT`: the whole file, its checksum, its facts, progress from 0 to all."""
    file = await home.pull(f"{REPO}:Q8_0")

    data = gguf_bytes["tiny-Q8_0.gguf"]
    assert Path(file.path).read_bytes() == data
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert (file.facts.architecture, file.size) == ("llama", len(data))
    assert [item.phase for item in home.news if item.phase != "download"] == ["resolve", "register"]
    done = [item.done for item in home.news if item.phase == "download"]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, len(data))
    assert {item.total for item in home.news if item.phase == "download"} == {len(data)}
    assert home.shelf.verify(file.id)["ok"] is True


async def test_other_tools_find_it_where_they_look(home: Home, hub: Hub) -> None:
    """The hub's own library has it without asking anybody, and sees a sound cache."""
    file = await home.pull(f"{REPO}:Q8_0")

    found = huggingface_hub.hf_hub_download(
        REPO, "tiny-Q8_0.gguf", cache_dir=home.cache, local_files_only=True
    )
    seen = huggingface_hub.scan_cache_dir(home.cache)

    assert found == file.path
    assert not seen.warnings
    (repo,) = seen.repos
    assert (repo.repo_id, repo.size_on_disk) == (REPO, file.size)
    assert {revision.commit_hash for revision in repo.revisions} == {COMMIT}


async def test_what_other_tools_fetched_is_used_in_place(home: Home, hub: Hub) -> None:
    """Not a byte is fetched again, there is no second copy, and removing it deletes nothing."""
    theirs = await asyncio.to_thread(
        huggingface_hub.hf_hub_download,
        REPO,
        "tiny-Q8_0.gguf",
        cache_dir=home.cache,
        endpoint=hub.url,
    )
    before, transfers = home.files(), len(hub.transfers())

    file = await home.pull(f"{REPO}:Q8_0")

    assert file.path == theirs
    assert len(hub.transfers()) == transfers
    assert (file.owned, file.brought) == (False, [])
    assert home.files() - before == {"rbee/data/models.json"}
    home.shelf.remove(file.id, delete=True)
    assert Path(theirs).exists()


async def test_what_rbee_fetched_goes_without_a_trace(home: Home, hub: Hub) -> None:
    """The manifest names blob, link and ref: all are deleted, other tools' files stay."""
    readme = await asyncio.to_thread(
        huggingface_hub.hf_hub_download, REPO, "README.md", cache_dir=home.cache, endpoint=hub.url
    )
    before = home.files()
    file = await home.pull(f"{REPO}:Q8_0")
    assert file.owned
    assert len(file.brought) == 2

    home.shelf.remove(file.id, delete=True)

    assert home.files() - before == {"rbee/data/models.json"}
    assert Path(readme).exists()


async def test_a_repository_that_was_ours_alone_leaves_nothing(home: Home, hub: Hub) -> None:
    """Not even empty folders."""
    file = await home.pull(f"{REPO}:Q8_0")
    home.shelf.remove(file.id, delete=True)

    assert list(home.cache.glob("models--*")) == []


async def test_a_split_model_is_one_model(
    home: Home, hub: Hub, gguf_bytes: dict[str, bytes]
) -> None:
    """All parts, the sum of their sizes and tensors, one fingerprint; a lost part is noticed."""
    file = await home.pull(f"{REPO}:BF16")

    parts = [data for name, data in gguf_bytes.items() if "BF16" in name]
    assert file.path.endswith("BF16/tiny-BF16-00001-of-00003.gguf")
    assert file.size == sum(map(len, parts))
    assert file.facts.parameters == 3 * 300 * 256
    done = [item.done for item in home.news if item.phase == "download"]
    assert done == sorted(done)
    assert done[-1] == file.size
    assert home.shelf.verify(file.id)["sha256"] == hashlib.sha256(b"".join(parts)).hexdigest()
    Path(file.path.replace("00001-of", "00003-of")).unlink()
    assert home.shelf.get(file.id) is None


async def test_broken_connections_are_gone_on_with(
    home: Home, hub: Hub, gguf_bytes: dict[str, bytes]
) -> None:
    """Three cuts: each next request asks for the rest only, and the bytes are right."""
    hub.cuts = [100_000, 50_000, 200_000]

    file = await home.pull(f"{REPO}:Q8_0")

    ranges = [item.range for item in hub.transfers()]
    assert ranges[0] is None
    begins = [int(str(item).removeprefix("bytes=")[:-1]) for item in ranges[1:]]
    assert len(begins) == 3
    assert begins == sorted(begins)
    assert begins[-1] > 300_000
    assert Path(file.path).read_bytes() == gguf_bytes["tiny-Q8_0.gguf"]


async def test_a_pull_that_was_ended_goes_on_where_it_was(home: Home, hub: Hub) -> None:
    """Cancelled in the middle, also by another process's end: the rest, not the whole."""
    hub.gate = asyncio.Event()
    first = asyncio.create_task(home.pull(f"{REPO}:Q8_0"))
    await hub.reached.wait()
    await eventually(lambda: home.news[-1].done > 100_000)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert home.shelf.all() == []
    assert not list(home.cache.rglob("*.gguf")), "never half a file under its name"
    hub.gate.set()
    again = Home(home.root, hub)

    await again.pull(f"{REPO}:Q8_0")

    assert hub.transfers()[-1].range is not None
    assert again.news[1].done > 0


async def test_wrong_bytes_never_get_a_name(home: Home, hub: Hub) -> None:
    """One flipped bit: refused by checksum, thrown away, and right the next time."""
    hub.corrupt = True

    with pytest.raises(Refused, match=r"the bytes are others: sha256 .*expected") as refusal:
        await home.pull(f"{REPO}:Q8_0")

    assert refusal.value.code == "UNTRUSTED_ARTIFACT"
    assert not list(home.cache.rglob("*.incomplete"))
    assert home.shelf.all() == []
    hub.corrupt = False
    assert (await home.pull(f"{REPO}:Q8_0")).id


async def test_a_server_that_is_busy_is_asked_again(home: Home, hub: Hub) -> None:
    """503 and 429 are no end; what never ends is."""
    hub.statuses = [503, 429, 500]
    await home.pull(f"{REPO}:Q8_0")

    hub.statuses = [503] * 99
    with pytest.raises(Unreachable, match="the server answered 503") as refusal:
        await home.pull(f"{REPO}:F16")
    assert "signature" not in refusal.value.message


async def test_two_pulls_are_one_download(home: Home, hub: Hub) -> None:
    """Also of two processes: whoever comes second waits, is told, and finds it there."""
    hub.gate = asyncio.Event()
    other = Home(home.root, hub)
    pulls = [asyncio.create_task(item.pull(f"{REPO}:Q8_0")) for item in (home, home, other)]
    await hub.reached.wait()
    hub.gate.set()

    first, second, third = await asyncio.gather(*pulls)

    assert first == second == third
    assert len(hub.transfers()) == 1
    assert [item.phase for item in home.news].count("resolve") == 2, "each listener is told"


async def test_a_gated_repository(home: Home, hub: Hub, tmp_path: Path) -> None:
    """Without a token: what to do. With a wrong one: what is missing. With the right one: it."""
    with pytest.raises(Refused, match=r"gated: accept its licence .* set HF_TOKEN") as refusal:
        await home.pull("org/gated-GGUF:Q8_0")
    assert refusal.value.code == "FORBIDDEN"
    wrong = Home(tmp_path / "wrong", hub, HF_TOKEN="hf_wrong")
    with pytest.raises(Refused, match="the account of HF_TOKEN has not accepted"):
        await wrong.pull("org/gated-GGUF:Q8_0")

    right = Home(tmp_path / "right", hub, HF_TOKEN="hf_good")
    await right.pull("org/gated-GGUF:Q8_0")
    kept = Home(tmp_path / "kept", hub)
    (kept.root / "hf").mkdir(parents=True)
    (kept.root / "hf/token").write_text("hf_good\n")
    await kept.pull("org/gated-GGUF:Q8_0")

    assert {item.authorization for item in hub.transfers()} == {None}, "the token went to a CDN"


@pytest.mark.parametrize(
    ("reference", "code", "says"),
    [
        (f"{REPO}:Q8", None, ""),
        (f"{REPO}:Q9_0", "MODEL_NOT_FOUND", "has no Q9_0; there are"),
        (f"{REPO}:q4_k_n", "MODEL_NOT_FOUND", "tiny-Q4_K_M.gguf"),
        (f"{REPO}::tiny-Q8_1.gguf", "MODEL_NOT_FOUND", "has no tiny-Q8_1.gguf; there are tiny-Q8"),
        (f"{REPO}@v9:Q8_0", "MODEL_NOT_FOUND", "has no revision v9"),
        ("org/tinny-GGUF", "MODEL_NOT_FOUND", "no repository org/tinny-GGUF.*search=tinny-GGUF"),
        ("org/no-GGUF", "MODEL_NOT_FOUND", "it has no GGUF file at all"),
    ],
)
async def test_names_that_almost_exist(
    home: Home, hub: Hub, reference: str, code: str | None, says: str
) -> None:
    """What was asked for, and what there is that is like it."""
    if code is None:
        assert (await home.pull(reference)).path.endswith("tiny-Q8_0.gguf")
        return
    with pytest.raises(NotFound, match=says) as refusal:
        await home.pull(reference)
    assert refusal.value.code == code


@pytest.mark.parametrize("reference", [f"{REPO}@{COMMIT}:Q8_0", f"{REPO}::tiny-Q8_0.gguf"])
async def test_a_revision_and_a_file_by_name(home: Home, hub: Hub, reference: str) -> None:
    """A commit needs no ref; a file needs no quantisation."""
    file = await home.pull(reference)

    assert file.path.endswith(f"snapshots/{COMMIT}/tiny-Q8_0.gguf")
    assert (home.cache / "models--org--tiny-GGUF/refs/main").exists() == ("@" not in reference)


async def test_offline_what_the_cache_has_is_enough(home: Home, hub: Hub, tmp_path: Path) -> None:
    """HF_HUB_OFFLINE, or a hub out of reach: the cached file is found by its quantisation."""
    await home.pull(f"{REPO}:Q8_0")
    for number, env in enumerate(({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"})):
        away = Home(tmp_path / f"away-{number}", hub, **env, HF_HUB_CACHE=str(home.cache))
        asked = len(hub.asked)

        file = await away.pull(f"{REPO}:Q8_0")

        assert (file.owned, len(hub.asked)) == (False, asked)
        with pytest.raises(Unreachable, match="org/tiny-GGUF"):
            await away.pull(f"{REPO}:F16")


async def test_a_disk_without_room_is_refused_before_a_byte(tmp_path: Path, hub: Hub) -> None:
    """Need, free, and the reserve; of the disk that the cache is on."""
    home = Home(tmp_path / "home", hub, keep_free=2**62)

    with pytest.raises(RbeeError, match=r"not enough disk in .*the model needs .*stay free"):
        await home.pull(f"{REPO}:Q8_0")

    assert hub.transfers() == []


async def test_a_disk_that_fills_up_says_so(home: Home, hub: Hub) -> None:
    """Its folder, and that the next pull goes on; the hive is not troubled."""
    digest = hashlib.sha256(hub.repositories[REPO].files["tiny-Q8_0.gguf"]).hexdigest()
    part = home.cache / f"models--org--tiny-GGUF/blobs/{digest}.rbee.incomplete"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")

    with pytest.raises(RbeeError, match=r"the disk of .*blobs is full.*pull again") as refusal:
        await home.pull(f"{REPO}:Q8_0")

    assert refusal.value.code == "CONFLICT"
    part.unlink()
    await home.pull(f"{REPO}:Q8_0")


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (["a-Q4_K_M.gguf", "a-Q8_0.gguf"], None, ["a-Q4_K_M.gguf"]),
        (["a-Q8_0.gguf", "a-Q6_K.gguf", "a-F32.gguf"], None, ["a-Q6_K.gguf"]),
        (["b.gguf"], None, ["b.gguf"]),
        (["a-Q4_0_4_4.gguf", "a-Q4_0.gguf"], "*Q4_0*", ["a-Q4_0.gguf"]),
        (["mmproj-Q8_0.gguf", "model-Q8_0.gguf"], "*Q8_0*", ["model-Q8_0.gguf"]),
        (["mmproj-Q8_0.gguf", "model-Q8_0.gguf"], "mmproj-Q8_0.gguf", ["mmproj-Q8_0.gguf"]),
        (
            ["x/a-Q8_0-00002-of-00002.gguf", "x/a-Q8_0-00001-of-00002.gguf"],
            "*Q8_0*",
            ["x/a-Q8_0-00001-of-00002.gguf", "x/a-Q8_0-00002-of-00002.gguf"],
        ),
    ],
)
def test_which_file_is_meant(names: list[str], wanted: str | None, chosen: list[str]) -> None:
    """The usual quantisation without a wish, the shortest name that fits, all of its parts."""
    source = Source(kind="hf", location="o/r", file=wanted)

    assert chosen == [file.name for file in choose([HubFile(name) for name in names], source)]


def test_a_repository_that_lacks_a_part() -> None:
    """Half a model is none."""
    files = [HubFile("a-Q8_0-00001-of-00002.gguf")]
    with pytest.raises(NotFound, match=r"lacks a-Q8_0-00002-of-00002\.gguf"):
        choose(files, Source(kind="hf", location="o/r", file="*Q8_0*"))


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"HF_HUB_CACHE": "/c"}, "/c"),
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/home/me"}, "/x/huggingface/hub"),
        ({"HOME": "/home/me"}, "/home/me/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hub_s_tools_have_it(env: dict[str, str], folder: str) -> None:
    """The names of its own environment, never ones of ours."""
    assert Path(folder) == cache_folder(env)
