"""What the SSH tunnel costs a token: frames straight over loopback, and through a real sshd."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from rbee_agent.contracts.hosts import Hop
from rbee_agent.ssh.own_key import OwnKey, own_key
from rbee_agent.ssh.tunnels import Tunnels, Way

FRAME = b'event: token\nid: 123\ndata: {"type":"token","i":123,"t":" hello","ids":[4242]}\n\n'
ROUNDS = 3000
STREAMED = 30_000
BATCH = 16
STEP_S = 0.002
"""Frames that leave together, one for each slot of a full batch, at each step of an engine."""


@contextmanager
def sshd(folder: Path, key: OwnKey) -> Iterator[Hop]:
    """A real SSH server of our own user on loopback."""
    host_key = folder / "host_key"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)]
    subprocess.run(keygen, check=True)
    (folder / "authorized_keys").write_text(f"{key.public} {key.comment}\n")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPermitRootLogin yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        sys.exit("no sshd here: apt-get install openssh-server")
    server = subprocess.Popen([program, "-D", "-f", str(config)])
    public = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
    try:
        yield Hop(address="127.0.0.1", port=port, user=getpass.getuser(), host_key=public)
    finally:
        server.terminate()
        server.wait()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """``e``: say frames back; ``s``: send them all, a batch at each step of an engine."""
    if await reader.readexactly(1) == b"e":
        try:
            while True:
                writer.write(await reader.readexactly(len(FRAME)))
        except asyncio.IncompleteReadError:
            writer.close()
            return
    for _ in range(STREAMED // BATCH):
        for _ in range(BATCH):
            writer.write(FRAME)
        await writer.drain()
        await asyncio.sleep(STEP_S)
    writer.close()


async def measure(port: int) -> tuple[float, float, float]:
    """Round trip of one frame in µs (median, 99 %), and our CPU in µs for each streamed frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"e")
    trips = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        writer.write(FRAME)
        await reader.readexactly(len(FRAME))
        trips.append((time.perf_counter() - began) * 1e6)
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    before = time.process_time()
    writer.write(b"s")
    got = len(await reader.read())
    cpu = (time.process_time() - before) * 1e6 / STREAMED
    assert got == STREAMED * len(FRAME)
    writer.close()
    return statistics.median(trips), statistics.quantiles(trips, n=100)[98], cpu


async def run(folder: Path) -> list[tuple[str, float, float, float]]:
    """The two ways, one after the other."""
    key = own_key(folder)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    far = server.sockets[0].getsockname()[1]
    rows = [("straight", *(await measure(far)))]
    with sshd(folder, key) as hop:
        async with asyncio.TaskGroup() as group:
            up = asyncio.Event()
            tunnels = Tunnels(key.path, lambda _, state, __: up.set() if state == "up" else None)
            tunnels.start(group)
            port = tunnels.add("host", Way(hop)).forward(far)
            async with asyncio.timeout(20):
                await up.wait()
            rows.append(("through SSH", *(await measure(port))))
            tunnels.close()
    server.close()
    return rows


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = uvloop.run(run(Path(folder)))
    print("| way | round trip µs, median | 99 % | CPU of both ends µs a frame |")
    print("|---|---|---|---|")
    for name, median, worst, cpu in rows:
        print(f"| {name} | {median:.0f} | {worst:.0f} | {cpu:.1f} |")
    extra = rows[1][3] - rows[0][3]
    print(
        f"\n{STREAMED} frames of {len(FRAME)} bytes; the tunnel adds {extra:.1f} µs of CPU a frame."
    )


if __name__ == "__main__":
    main()
