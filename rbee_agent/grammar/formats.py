"""Formats as patterns: each accepts only what every validator accepts, if not all of it."""

from __future__ import annotations

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_DATE = (
    r"[0-9]{3}[1-9]-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    r"|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_MINUTES = r"([01][0-9]|2[0-3]):[0-5][0-9]"
_CLOCK = rf"{_MINUTES}:[0-5][0-9](\.[0-9]{{1,6}})?(Z|[+-]{_MINUTES})"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,4}}"
_NAME = r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+){0,3}"
_PATH = r"(/[A-Za-z0-9._~-]*)*"
_QUERY = r"(\?[A-Za-z0-9._~=&-]*)?(#[A-Za-z0-9._~-]*)?"

_EMAIL = rf"{_NAME}@{_HOST}\.[a-z]{{2,10}}"
_HOSTNAME = r"[a-z][a-z0-9]{0,12}(\.[a-z][a-z0-9]{0,12}){0,4}"
_URI = rf"https?://{_HOST}(:[1-9][0-9]{{1,3}})?{_PATH}{_QUERY}"
_POINTER = r"(/([A-Za-z0-9_.-]|~0|~1)*)*"

FORMATS = {
    "date": _DATE,
    "time": _CLOCK,
    "date-time": f"{_DATE}T{_CLOCK}",
    "duration": r"P([1-9][0-9]{0,3}Y)?([1-9][0-9]?M)?([1-9][0-9]{0,2}D)"
    r"(T([1-9][0-9]?H)([1-9][0-9]?M)?([1-9][0-9]?S)?)?",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "ipv4": rf"{_OCTET}(\.{_OCTET}){{3}}",
    "ipv6": r"[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}",
    "hostname": _HOSTNAME,
    "idn-hostname": _HOSTNAME,
    "email": _EMAIL,
    "idn-email": _EMAIL,
    "uri": _URI,
    "iri": _URI,
    "uri-reference": rf"({_URI}|(/[A-Za-z0-9._~-]+)+{_QUERY})",
    "iri-reference": rf"({_URI}|(/[A-Za-z0-9._~-]+)+{_QUERY})",
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(0|[1-9][0-9]?){_POINTER}",
}
"""Name of a format, and the pattern of the whole text."""
