"""Addresses to listen on and to call."""

from __future__ import annotations

import pytest

from rbee_agent.errors import Refused
from rbee_agent.wire.addresses import check_peer_url, check_plain, listen_address, url_of


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("10.0.0.5", ("10.0.0.5", 9201)),
        ("10.0.0.5:9443", ("10.0.0.5", 9443)),
        ("gpu-1.lan:0", ("gpu-1.lan", 0)),
        ("fd00::5", ("fd00::5", 9201)),
        ("[fd00::5]:9443", ("fd00::5", 9443)),
    ],
)
def test_where_to_listen(said: str, found: tuple[str, int]) -> None:
    """An address or a name, with a port or without one."""
    assert listen_address(said, port=9201, what="--listen") == found


@pytest.mark.parametrize(
    "said",
    ["", ":9201", "0.0.0.0", "[::]:9201", "::", "10.0.0.5:x", "10.0.0.5:70000", "a/b", "u@h"],
)
def test_what_is_no_address_to_tell_others(said: str) -> None:
    """Each is refused with the setting that it stands in."""
    with pytest.raises(Refused, match=r"^--listen: "):
        listen_address(said, port=9201, what="--listen")


def test_plain_text_stays_on_this_machine() -> None:
    """Listening and calling: loopback may, others need TLS."""
    check_plain("127.0.0.1", tls="--listen")
    check_peer_url("http://[::1]:8080", what="url")
    check_peer_url("https://10.0.0.2:8443", what="url")
    with pytest.raises(Refused, match="--listen"):
        check_plain("10.0.0.5", tls="--listen")
    with pytest.raises(Refused, match="https"):
        check_peer_url("http://10.0.0.2:8080", what="url")
    assert url_of("https", "fd00::5", 9201) == "https://[fd00::5]:9201"
