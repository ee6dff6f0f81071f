"""Replies: docs/reference/formats.md, "Reply"."""

from __future__ import annotations

import errno

from .errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping


def reply_of(operation: Callable[..., Mapping[str, Any]], *args: object) -> dict[str, Any]:
    """The reply of an operation: its result, or its failure as data."""
    try:
        return dict({"v": 1, "ok": True}, **operation(*args))
    except Failure as failure:
        error = failure
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        error = Failure("NO_SPACE", "the disk is full", path=str(problem.filename))
    return {"v": 1, "ok": False, "error": error.data()}
