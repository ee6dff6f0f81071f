"""What was sealed with a key: docs/reference/formats.md, "Sealed plans". The bootstrap has the
same, since it comes by itself.
"""

from __future__ import annotations

import hmac


def unseal(sealed: bytes, key: bytes) -> bytes | None:
    """The bytes; None where they were not sealed with the key, or were changed since."""
    cipher, code = sealed[:-32], sealed[-32:]
    if (
        cipher[:4] != b"NXS1"
        or len(cipher) < 20
        or not hmac.compare_digest(digest(derived(key, b"authenticate"), cipher), code)
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
    return hmac.digest(key, data, "sha256")
