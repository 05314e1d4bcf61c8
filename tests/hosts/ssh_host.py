"""One host without a machine: an OpenSSH server in namespaces, with a user and an empty home."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NET = "10.213.77"
USER = "ada"
UID = 4211


def tool(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def run(*words: str, stdin: str | None = None, timeout: float = 60.0) -> str:
    """Run a tool of the test's own; its stdout."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class SshHost:
    """One host: its namespaces are those of the process `pid`."""

    name: str
    address: str
    root: Path
    pid: int
    processes: list[subprocess.Popen[bytes]]
    host_key: str
    model = f"/home/{USER}/model.gguf"
    """Where `give_model` puts the model, as the host sees it."""
    gate: SshHost | None = None
    """The jump host in front of it."""
    bridge: str = ""
    """What its network cable is plugged into."""

    @property
    def home(self) -> Path:
        """The user's home, as this side sees it."""
        return self.root / "home" / USER

    def sh(self, script: str, *, user: str = "root", timeout: float = 60.0) -> str:
        """Run a script inside; its stdout."""
        words = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts"]
        if user != "root":
            words += [f"--setuid={UID}", f"--setgid={UID}"]
            script = f"export HOME=/home/{USER}; cd; {script}"
        return run(*words, "sh", "-c", script, timeout=timeout)

    def give_model(self, source: Path) -> None:
        """Put a model file onto its disk."""
        target = self.home / "model.gguf"
        shutil.copyfile(source, target)
        target.chmod(0o644)

    def use_index(self, url: str) -> None:
        """Have the user's pip, and with it rbee, look for packages there."""
        folder = self.home / ".config/pip"
        folder.mkdir(parents=True)
        name = url.split("/")[2].rsplit(":", 1)[0]
        (folder / "pip.conf").write_text(f"[global]\nindex-url={url}\ntrusted-host={name}\n")
        for path in (folder, folder.parent):
            os.chown(path, UID, UID)

    def listing(self) -> list[str]:
        """Every path below the home."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))

    def sshd(self, *options: str, port: int = 22) -> None:
        """Start its SSH server; `options` are lines of sshd_config."""
        config = self.root / f"sshd_config.{port}"
        lines = [
            f"Port {port}",
            f"HostKey {self.root}/ssh_host_ed25519_key",
            "PidFile none",
            "UsePAM no",
            "PasswordAuthentication yes",
            "Subsystem sftp internal-sftp",
            "MaxStartups 200:30:300",
            *options,
        ]
        config.write_text("\n".join(lines) + "\n")
        sshd = tool("sshd")
        assert sshd is not None
        log = (self.root / "sshd.log").open("ab")
        with log:
            process = subprocess.Popen(
                [
                    *["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts"],
                    *[sshd, "-D", "-e", "-f", str(config)],
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
            )
        self.processes.append(process)
        self._await_port(process, port)

    def _await_port(self, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert process.poll() is None, (self.root / "sshd.log").read_text()
            listening = self.sh("cat /proc/net/tcp")
            if f":{port:04X} 00000000:0000 0A" in listening:
                return
            time.sleep(0.02)
        raise AssertionError("sshd does not listen")

    def end_sshd(self) -> None:
        """Kill the server and every session of it."""
        self.sh("for p in $(ps -eo pid=,comm= | awk '$2 ~ /sshd/ {print $1}'); do kill -9 $p; done")
        self.processes.pop().wait()

    def link(self, up: bool) -> None:
        """Plug or unplug its network cable."""
        run("ip", "link", "set", f"v{self.name}", "up" if up else "down")

    @contextlib.contextmanager
    def bad_cable(self, delay_ms: float, loss: float) -> Iterator[None]:
        """Let frames come late, each way, and lose a share of them each way."""
        near, far = f"c{self.name}", f"d{self.name}"
        run("ip", "link", "set", f"v{self.name}", "nomaster")
        run("ip", "link", "add", near, "type", "veth", "peer", "name", far)
        for words in ((near, "up"), (far, "master", self.bridge, "up")):
            run("ip", "link", "set", *words)
        words = [f"v{self.name}", near, str(delay_ms), str(loss), "7"]
        program = str(Path(__file__).with_name("cable.py"))
        cable = subprocess.Popen([sys.executable, program, *words], stdout=subprocess.PIPE)
        assert cable.stdout is not None
        try:
            assert cable.stdout.readline() == b"ready\n"
            yield
        finally:
            cable.kill()
            cable.wait()
            cable.stdout.close()
            run("ip", "link", "delete", near)
            run("ip", "link", "set", f"v{self.name}", "master", self.bridge)

    def move_to(self, address: str) -> None:
        """Take another address; the one before answers no more."""
        self.sh(f"ip address flush dev eth0; ip address add {address}/24 dev eth0")
        self.address = address

    def new_host_key(self) -> None:
        """Show another host key from now on, as a host that was installed anew does."""
        key = self.root / "ssh_host_ed25519_key"
        for file in (key, key.with_suffix(".pub")):
            file.unlink()
        self.host_key = make_key(key)
        self.end_sshd()
        self.sshd()

    def crash(self) -> None:
        """End every process of the user and the SSH server, as a loss of power does."""
        self.sh(f"for p in $(ps -u {UID} -o pid=); do kill -9 $p; done")
        self.end_sshd()

    def halt(self) -> None:
        """Switch it off for good; a second time does nothing."""
        # The namespace's first process takes all others of it along.
        self.processes[0].kill()
        for process in self.processes:
            process.wait(timeout=10)
        subprocess.run(["ip", "link", "delete", f"v{self.name}"], check=False, capture_output=True)

    def set_password(self, hashed: str) -> None:
        """Give the user a password, as it stands in shadow."""
        file = self.root / "etc/shadow"
        file.write_text(file.read_text().replace(f"{USER}:*:", f"{USER}:{hashed}:"))

    def authorize(self, line: str) -> None:
        """Let a key log in as the user."""
        folder = self.home / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / "authorized_keys"
        file.write_text(line + "\n")
        file.chmod(0o600)
        for path in (folder, file):
            os.chown(path, UID, UID)


def boot(bridge: str, root: Path, name: str, number: int, shell: str) -> SshHost:
    """Unshare, mount over what a host has of its own, and plug it into the bridge."""
    for folder in ("home", "etc", "run", "tmp", "var"):
        (root / folder).mkdir()
    root.chmod(0o755)
    for parent in root.parents:
        if parent == Path("/tmp") or parent == parent.parent:
            break
        parent.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    home = root / "home" / USER
    home.mkdir(mode=0o755)
    os.chown(home, UID, UID)
    users = "root:x:0:0:root:/root:/bin/bash\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\n"
    (root / "etc/passwd").write_text(users + f"{USER}:x:{UID}:{UID}::/home/{USER}:{shell}\n")
    (root / "etc/group").write_text(f"root:x:0:\nnogroup:x:65534:\n{USER}:x:{UID}:\n")
    (root / "etc/shadow").write_text(
        f"root:*:19000::::::\nsshd:*:19000::::::\n{USER}:*:19000::::::\n"
    )
    key = root / "ssh_host_ed25519_key"
    public = make_key(key)
    mounts = [f"mount --bind {root}/home /home", "mount -t tmpfs tmpfs /run", "mkdir -p /run/sshd"]
    mounts += [
        f"mount --bind {root}/etc/{file} /etc/{file}" for file in ("passwd", "group", "shadow")
    ]
    mounts += ["ip link set lo up", f"hostname {name}", "echo ready", "exec sleep infinity"]
    process = subprocess.Popen(
        [
            # A session that is killed takes its hosts along.
            *["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--uts"],
            *["--fork", "--mount-proc", "--kill-child"],
            "sh",
            "-ec",
            "; ".join(mounts),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    pid = int(children[0])
    address = f"{NET}.{number}"
    run("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    run("ip", "link", "set", f"v{name}", "master", bridge, "up")
    inside = ["nsenter", f"--target={pid}", "--net", "ip"]
    run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    return SshHost(name, address, root, pid, [process], public, bridge=bridge)


def make_key(path: Path) -> str:
    """A fresh key pair; its public line without the comment."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])
