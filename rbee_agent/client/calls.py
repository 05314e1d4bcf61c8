"""What the groups of calls share: one transport, and the shapes of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from rbee_agent.client.transport import Params, Transport
from rbee_agent.errors import RbeeError

if TYPE_CHECKING:
    from rbee_agent.contracts.base import Contract

C = TypeVar("C", bound="Contract")
NO_QUEEN = "whoever answers there is no queen of this version"


class Calls:
    """A part of the queen's API over a transport."""

    _transport: Transport

    async def raw(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Params | None = None,
        timeout: float | None = None,
    ) -> Any:
        """One call by its path: decoded JSON as the queen sent it, validated by nobody."""
        return await self._transport.call(method, path, json=json, params=params, timeout=timeout)


def items(body: Any, key: str) -> list[Any]:
    """The list that stands in an answer under its noun.

    Raises:
        RbeeError: there is none, so this is no answer of a queen.
    """
    found = body.get(key) if isinstance(body, dict) else None
    if not isinstance(found, list):
        raise RbeeError(f"the answer holds no list of {key}: {NO_QUEEN}")
    return found


def parsed(kind: type[C], body: Any) -> C:
    """An answer as its type.

    Raises:
        RbeeError: it is not one.
    """
    try:
        return kind.read(body)
    except ValueError as error:
        raise RbeeError(f"the answer is no {kind.__name__}: {NO_QUEEN}") from error


def listed(kind: type[C], body: Any, key: str) -> list[C]:
    """A list of answers of one type, from under its noun.

    Raises:
        RbeeError: it is not one.
    """
    return [parsed(kind, item) for item in items(body, key)]


def segment(name: str) -> str:
    """A name as one segment of a path, slashes and all."""
    return quote(name, safe="")
