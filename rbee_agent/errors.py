"""Every error that crosses a wire or ends a command, and the one table of their codes.

::

    RbeeError                     code, message, details; knows its HTTP status and exit code
     ├─ Refused                   the request is wrong or may not be done: trying again is no use
     │   ├─ InvalidParams         INVALID_PARAMS, with every violation at once
     │   ├─ NotFound              NOT_FOUND, MODEL_NOT_FOUND
     │   └─ Conflict              CONFLICT
     ├─ Unavailable               not now: says when to try again
     └─ Unreachable               nobody answered at the address (client side only)

The code decides everything else; the classes exist so that callers can catch what they handle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What follows from an error code."""

    http: int
    retriable: bool
    exit_code: int


EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_NOT_ALLOWED = 4
EXIT_UNREACHABLE = 5
EXIT_TIMED_OUT = 6
EXIT_CONFLICT = 7
EXIT_PARTLY = 8
EXIT_INTERRUPTED = 130

CODES: dict[str, CodeFacts] = {
    "INVALID_PARAMS": CodeFacts(400, False, EXIT_USAGE),
    "DEADLINE_UNMET": CodeFacts(400, False, EXIT_TIMED_OUT),
    "CONTEXT_LENGTH_EXCEEDED": CodeFacts(400, False, EXIT_CONFLICT),
    "MISSING_TOKEN": CodeFacts(401, False, EXIT_NOT_ALLOWED),
    "BAD_TOKEN": CodeFacts(401, False, EXIT_NOT_ALLOWED),
    "FORBIDDEN": CodeFacts(403, False, EXIT_NOT_ALLOWED),
    "MODEL_NOT_FOUND": CodeFacts(404, False, EXIT_NOT_FOUND),
    "NOT_FOUND": CodeFacts(404, False, EXIT_NOT_FOUND),
    "CONFLICT": CodeFacts(409, False, EXIT_CONFLICT),
    "MODEL_DEPRECATED": CodeFacts(409, False, EXIT_CONFLICT),
    "PAYLOAD_TOO_LARGE": CodeFacts(413, False, EXIT_USAGE),
    "UNSUPPORTED_MEDIA_TYPE": CodeFacts(415, False, EXIT_USAGE),
    "UNTRUSTED_ARTIFACT": CodeFacts(422, False, EXIT_CONFLICT),
    "VERSION_SKEW": CodeFacts(426, False, EXIT_CONFLICT),
    "ADMISSION_REJECT": CodeFacts(429, True, EXIT_FAILED),
    "QUEUE_FULL_DROP_LRU": CodeFacts(429, True, EXIT_FAILED),
    "QUOTA_EXCEEDED": CodeFacts(429, True, EXIT_FAILED),
    "WORKER_RESET": CodeFacts(500, True, EXIT_FAILED),
    "DECODE_TIMEOUT": CodeFacts(500, True, EXIT_TIMED_OUT),
    "INTERNAL": CodeFacts(500, False, EXIT_FAILED),
    "POOL_UNREADY": CodeFacts(503, True, EXIT_FAILED),
    "POOL_UNAVAILABLE": CodeFacts(503, True, EXIT_FAILED),
    "REPLICA_EXHAUSTED": CodeFacts(503, True, EXIT_FAILED),
    "INSUFFICIENT_VRAM": CodeFacts(503, True, EXIT_CONFLICT),
    "BACKEND_UNAVAILABLE": CodeFacts(503, False, EXIT_CONFLICT),
    "STORE_UNAVAILABLE": CodeFacts(503, True, EXIT_FAILED),
    "DEADLINE_EXCEEDED": CodeFacts(504, False, EXIT_TIMED_OUT),
    "CANCELLED": CodeFacts(499, False, EXIT_INTERRUPTED),
    "UNREACHABLE": CodeFacts(502, True, EXIT_UNREACHABLE),
}
"""Code to facts. 499 and 502 are never sent by the queen for these codes: they live in streams."""

_UNKNOWN = CodeFacts(500, False, EXIT_FAILED)


class RbeeError(Exception):
    """An error with a stable code that a program can act on and a sentence that a person can."""

    default_code = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retry_after_ms: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.retry_after_ms = retry_after_ms
        self.details = details

    @property
    def facts(self) -> CodeFacts:
        """What follows from the code; a code of a newer peer counts as a plain failure."""
        return CODES.get(self.code, _UNKNOWN)

    @property
    def http_status(self) -> int:
        """The HTTP status that carries this error."""
        return self.facts.http

    @property
    def retriable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.facts.retriable

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends with this error."""
        return self.facts.exit_code

    def body(self, correlation_id: str | None = None) -> dict[str, Any]:
        """The ``error`` object of the contract."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "retriable": self.retriable,
        }
        if self.retry_after_ms is not None:
            error["retry_after_ms"] = self.retry_after_ms
        if correlation_id is not None:
            error["correlation_id"] = correlation_id
        if self.details:
            error["details"] = self.details
        return error


class Refused(RbeeError):
    """The request is wrong or may not be done; trying again is no use."""

    default_code = "INVALID_PARAMS"


class InvalidParams(Refused):
    """Every violation of a request at once; never holds the values themselves."""

    def __init__(self, errors: list[dict[str, str]], message: str | None = None) -> None:
        """Take violations as ``{field, constraint, message}``."""
        first = errors[0] if errors else {"field": "", "message": "the request is not valid"}
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(
            message or f"{first['field']}: {first['message']}{more}".lstrip(": "),
            details={"errors": errors},
        )
        self.errors = errors


class NotFound(Refused):
    """The thing that was named is not there."""

    default_code = "NOT_FOUND"


class Conflict(Refused):
    """It would contradict what is already so."""

    default_code = "CONFLICT"


class Unavailable(RbeeError):
    """Not now; `retry_after_ms` says when."""

    default_code = "POOL_UNAVAILABLE"


class Unreachable(RbeeError):
    """Nobody answered at the address; made by clients only."""

    default_code = "UNREACHABLE"


_CLASSES: dict[str, type[RbeeError]] = {
    "NOT_FOUND": NotFound,
    "MODEL_NOT_FOUND": NotFound,
    "CONFLICT": Conflict,
    "UNREACHABLE": Unreachable,
}


def from_body(body: Any, status: int = 500) -> RbeeError:
    """The error that a peer's JSON answer carries, as the class that callers catch.

    A body that is none of ours becomes INTERNAL with its status, so nothing is lost on the way.
    """
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or "code" not in error:
        return RbeeError(f"the server answered {status} without saying why")
    code = str(error["code"])
    message = str(error.get("message", code))
    details = error.get("details") if isinstance(error.get("details"), dict) else None
    if code == "INVALID_PARAMS" and details and isinstance(details.get("errors"), list):
        return InvalidParams(details["errors"], message)
    cls = _CLASSES.get(code)
    if cls is None:
        facts = CODES.get(code, _UNKNOWN)
        cls = Unavailable if facts.retriable else Refused if facts.http < 500 else RbeeError
    retry_after = error.get("retry_after_ms")
    return cls(
        message,
        code=code,
        retry_after_ms=retry_after if isinstance(retry_after, int) else None,
        details=details,
    )
