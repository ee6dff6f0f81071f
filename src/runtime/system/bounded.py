"""Inflates and parses with limits: a few bytes may inflate to gigabytes. The only module that
inflates.
"""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# JSON that is larger than this, bytes, is parsed only if it has no more values than this.
MAX_VALUES = 8 * 1024 * 1024


class TooLarge(ValueError):
    """Something holds more than its limit allows."""


def inflate(data: bytes | bytearray | memoryview, limit: int) -> bytes:
    """A zlib stream's bytes. TooLarge where it inflates to more than `limit`, ValueError for what
    is no whole stream.
    """
    unpacker = zlib.decompressobj()
    try:
        inflated = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error))
    if len(inflated) > limit:
        raise TooLarge("it holds more than %d inflated bytes" % limit)
    if not unpacker.eof:
        raise ValueError("it is cut short")
    return inflated


def parse(data: bytes) -> Any:
    """The value of JSON whose bytes are bounded already. TooLarge where its values would need many
    times its size in memory, or are nested too deeply.

    What is inside a text counts too: no text of ours holds so many commas.
    """
    if (
        len(data) > MAX_VALUES
        and data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES
    ):
        raise TooLarge("it holds more than %d values" % MAX_VALUES)
    import json

    try:
        return json.loads(data)
    except RecursionError:
        raise TooLarge("its values are nested too deeply")
