"""Where rbee keeps what: config, data, state, cache and runtime folders under XDG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """The five folders of one user's rbee. Nothing is made until something is written."""

    config: Path
    data: Path
    state: Path
    cache: Path
    runtime: Path

    @classmethod
    def of_user(cls, env: Mapping[str, str] | None = None) -> Places:
        """The folders that XDG and the platform give this user."""
        import platformdirs

        env = os.environ if env is None else env
        dirs = platformdirs.PlatformDirs("rbee", appauthor=False)
        runtime = env.get("XDG_RUNTIME_DIR")
        state = dirs.user_state_path
        return cls(
            config=dirs.user_config_path,
            data=dirs.user_data_path,
            state=state,
            cache=dirs.user_cache_path,
            # Without a login session there is no runtime folder; state is this user's too.
            runtime=Path(runtime) / "rbee" if runtime else state / "run",
        )

    @classmethod
    def under(cls, root: Path) -> Places:
        """All five below one folder, for tests and portable installs."""
        return cls(*(root / name for name in ("config", "data", "state", "cache", "run")))

    @property
    def config_file(self) -> Path:
        """``config.toml``."""
        return self.config / "config.toml"

    @property
    def hosts_file(self) -> Path:
        """``hives.toml``: the operator's list of hosts."""
        return self.config / "hives.toml"

    @property
    def models(self) -> Path:
        """Where model files lie that come from nowhere with a cache of its own."""
        return self.cache / "models"

    @property
    def logs(self) -> Path:
        """Logs of queen, hive and workers."""
        return self.state / "logs"

    @property
    def workers_lock(self) -> Path:
        """Held by the process that owns this host's workers."""
        return self.state / "workers.lock"

    @property
    def database(self) -> Path:
        """The queen's SQLite file."""
        return self.state / "queen.db"

    @property
    def journals(self) -> Path:
        """The queen's token journals."""
        return self.state / "journals"

    @property
    def queen_record(self) -> Path:
        """Who runs as this user's queen: pid, start time, URL."""
        return self.runtime / "queen.json"

    @property
    def hive_record(self) -> Path:
        """Who runs as this user's hive: pid, start time, URL."""
        return self.runtime / "hive.json"

    @property
    def hive_token(self) -> Path:
        """The token that this host's hive wants (0600)."""
        return self.state / "hive.token"

    @property
    def admin_token(self) -> Path:
        """The first admin key of this user's queen (0600)."""
        return self.state / "admin.token"
