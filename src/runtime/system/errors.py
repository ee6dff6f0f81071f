"""Errors as data: a code, a message, a detail (docs/reference/formats.md, "Reply")."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
