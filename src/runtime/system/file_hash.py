"""The SHA-256 of a file."""

from __future__ import annotations

from .digest import sha256_hex

BLOCK_BYTES = 1024 * 1024


def hash_file(path: str | bytes | int) -> str:
    """The SHA-256 of a file, by its path or its descriptor, which stays open."""
    with open(path, "rb", buffering=0, closefd=not isinstance(path, int)) as file:
        first = file.read(BLOCK_BYTES)
        block = file.read(BLOCK_BYTES)
        if not block:
            return sha256_hex(first)
        import hashlib

        digest = hashlib.sha256(first)
        while block:
            digest.update(block)
            block = file.read(BLOCK_BYTES)
    return digest.hexdigest()
