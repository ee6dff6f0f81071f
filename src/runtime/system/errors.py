"""Errors as data: a code, a message, a detail (docs/reference/formats.md, "Reply")."""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping


class Failure(Exception):
    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    def with_aws(self) -> str:
        """The message and AWS's own words, which are there once."""
        words = str(self.detail.get("aws") or "")
        return self.message if words in self.message else f"{self.message}: {words}"

    def data(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "detail": self.detail}


def text(path: bytes) -> str:
    """A path, bytes, as a message names it."""
    return path.decode("utf-8", "replace")


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
