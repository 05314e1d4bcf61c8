"""The task that a translation of another API's request makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rbee_agent.contracts.tasks import TaskRequest
from rbee_agent.errors import InvalidParams
from rbee_agent.wire.violations import invalid_params


def task_of(fields: dict[str, Any]) -> TaskRequest:
    """A task from fields that a translation made.

    Raises:
        InvalidParams: every violation.
    """
    try:
        return TaskRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_params(error) from error


def task_named(fields: dict[str, Any], names: Mapping[str, str]) -> TaskRequest:
    """A task whose violations go by the names that the caller used.

    Args:
        fields: of the task.
        names: what the caller calls a field of the task, where that is another name.

    Raises:
        InvalidParams: every violation.
    """
    try:
        return task_of(fields)
    except InvalidParams as error:
        raise InvalidParams([_renamed(one, names) for one in error.errors]) from error


def _renamed(violation: dict[str, str], names: Mapping[str, str]) -> dict[str, str]:
    first, dot, rest = violation["field"].partition(".")
    return {**violation, "field": names.get(first, first) + dot + rest}
