"""SHA-256 of little data without OpenSSL, which `hashlib` loads."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


builtin: Any
try:
    if sys.version_info < (3, 12):
        from _sha256 import sha256 as builtin  # pyright: ignore[reportUnknownVariableType]
    else:
        from _sha2 import sha256 as builtin  # pyright: ignore[reportUnknownVariableType]
except ImportError:
    builtin = None

# OpenSSL takes less time for more than this, also if it must be loaded.
BUILTIN_LIMIT_BYTES = 1024 * 1024


def sha256_hex(data: bytes) -> str:
    if builtin is not None and len(data) <= BUILTIN_LIMIT_BYTES and "_hashlib" not in sys.modules:
        return builtin(data).hexdigest()
    import hashlib

    return hashlib.sha256(data).hexdigest()
