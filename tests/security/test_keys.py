"""Keys: made once, hashed at rest, revoked at once; and who may listen where."""

from __future__ import annotations

import pytest

from rbee_agent.contracts.keys import Role
from rbee_agent.errors import Conflict, NotFound, Refused
from rbee_agent.security.access import Access, check_bind
from rbee_agent.security.keys import KeyRing
from rbee_agent.settings.secret import Secret
from rbee_agent.store.sqlite import SqliteStore
from rbee_agent.testing.clock import FakeClock
from rbee_agent.wire.addresses import is_loopback


@pytest.fixture
async def store(tmp_path):
    made = await SqliteStore.open(tmp_path / "q" / "queen.db")
    yield made
    await made.close()


@pytest.fixture
def ring(store) -> KeyRing:
    return KeyRing(store, FakeClock())


async def test_a_key_identifies_its_holder(ring):
    """The token that was shown once opens what its roles allow, and nothing else."""
    info, secret = await ring.create("ci", [Role.SUBMIT])
    who = ring.identify(secret.reveal())
    assert who.id == info.id
    assert who.may(Role.SUBMIT)
    assert not who.may(Role.ADMIN)
    assert not who.may(Role.NODE)


async def test_only_hashes_are_kept(ring, store, tmp_path):
    """The token itself stands in no file of the store."""
    _, secret = await ring.create("ci", [Role.SUBMIT])
    await store.close()
    for path in (tmp_path / "q").iterdir():
        assert secret.reveal().encode() not in path.read_bytes()


async def test_a_revoked_key_is_dead_also_after_a_restart(ring, store):
    """Revoking holds at once and for good."""
    info, secret = await ring.create("ci", [Role.SUBMIT])
    await ring.revoke(info.id)
    with pytest.raises(Refused) as caught:
        ring.identify(secret.reveal())
    assert caught.value.code == "BAD_TOKEN"
    again = KeyRing(store, FakeClock())
    await again.load()
    with pytest.raises(Refused):
        again.identify(secret.reveal())
    with pytest.raises(NotFound):
        await again.revoke(info.id)


async def test_names_are_given_once(ring):
    """Two living keys never share a name."""
    await ring.create("ci", [Role.SUBMIT])
    with pytest.raises(Conflict):
        await ring.create("ci", [Role.READ])


async def test_a_short_token_is_no_secret(ring):
    """A configured token of fewer than 16 characters is refused."""
    with pytest.raises(Refused, match="16"):
        ring.add_static(Secret("short"), "x", [Role.ADMIN])


async def test_open_on_loopback_only(ring):
    """Without a token: the local admin where the queen is open, else MISSING_TOKEN."""
    assert Access(ring, open=True).authorize(None, frozenset({Role.ADMIN})).admin
    with pytest.raises(Refused) as caught:
        Access(ring, open=False).identify(None)
    assert caught.value.code == "MISSING_TOKEN"


async def test_a_wrong_token_is_refused_on_loopback_too(ring):
    """Whoever shows a token wants to be that key, not the local admin."""
    with pytest.raises(Refused) as caught:
        Access(ring, open=True).identify("not-a-token-of-ours")
    assert caught.value.code == "BAD_TOKEN"


@pytest.mark.parametrize(
    ("host", "token", "fine"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", None, False),
        ("10.0.0.5", "short", False),
        ("10.0.0.5", "0123456789abcdef", True),
        ("example.org", None, False),
    ],
)
def test_bind_policy(host, token, fine):
    """Where others can reach the queen she wants a token of 16 characters, or does not start."""
    if fine:
        check_bind(host, token)
    else:
        with pytest.raises(Refused):
            check_bind(host, token)


def test_loopback_is_known():
    """All of 127/8 is this machine; a name that is not known is not."""
    assert is_loopback("127.3.2.1")
    assert not is_loopback("192.168.1.1")
    assert not is_loopback("gpu-host")
