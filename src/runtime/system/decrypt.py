"""What was sealed with a key: docs/reference/formats.md, "Sealed plans". The bootstrap has the
same, since it comes by itself.
"""

from __future__ import annotations

from .digest import sha256_hex

try:
    # What `hmac` has, which loads OpenSSL.
    from _operator import (
        _compare_digest as is_same,  # pyright: ignore[reportPrivateUsage]
    )
except ImportError:
    from hmac import compare_digest as is_same

BLOCK_BYTES = 64
INNER, OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def unseal(sealed: bytes, key: bytes) -> bytes | None:
    """The bytes; None where they were not sealed with the key, or were changed since."""
    cipher, code = sealed[:-32], sealed[-32:]
    if (
        cipher[:4] != b"NXS1"
        or len(cipher) < 20
        or not is_same(digest(derived(key, b"authenticate"), cipher), code)
    ):
        return None
    nonce, data, key = cipher[4:20], cipher[20:], derived(key, b"encrypt")
    stream = b"".join(
        digest(key, nonce + block.to_bytes(8, "big")) for block in range((len(data) + 31) // 32)
    )
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream[: len(data)], "big")).to_bytes(
        len(data), "big"
    )


def derived(key: bytes, purpose: bytes) -> bytes:
    return digest(key, b"nx-ec2 seal 1 " + purpose)


def digest(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256; the key has at most 64 bytes."""
    key = key.ljust(BLOCK_BYTES, b"\0")
    return sha256(key.translate(OUTER) + sha256(key.translate(INNER) + data))


def sha256(data: bytes) -> bytes:
    return bytes.fromhex(sha256_hex(data))
