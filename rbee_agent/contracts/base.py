"""The base of every contract type: strict when we write, lenient when we read.

Fields added after the first release are optional and say in their docstring which version
brought them, so that a peer of another age can still be read.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from rbee_agent.contracts.versions import OLDEST_PROTOCOL as OLDEST_PROTOCOL
from rbee_agent.contracts.versions import PROTOCOL_VERSION as PROTOCOL_VERSION


class Contract(BaseModel):
    """A value that is written to a wire or a disk: frozen, and strict about its fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        ser_json_inf_nan="null",
    )

    @classmethod
    def read(cls, data: Any) -> Self:
        """Validate what a peer or an older version wrote, ignoring fields we do not know.

        Raises:
            pydantic.ValidationError: a known field is missing or has an impossible value.
        """
        return cls.model_validate(data, extra="ignore")

    @classmethod
    def read_json(cls, data: str | bytes) -> Self:
        """Like :meth:`read`, from JSON text.

        Raises:
            pydantic.ValidationError: not JSON, or not this type.
        """
        return cls.model_validate_json(data, extra="ignore")

    def dump(self) -> dict[str, Any]:
        """JSON-ready dictionary without the fields that are unset (None)."""
        return self.model_dump(mode="json", exclude_none=True)

    def dump_json(self) -> str:
        """Compact JSON text without the fields that are unset (None)."""
        return self.model_dump_json(exclude_none=True)
