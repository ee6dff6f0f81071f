"""Files of checkpoints whose format says how long they are. One that is shorter was cut off, or is
being written.
"""

from __future__ import annotations

import json
import os
import struct

ZIP, ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
# The end of a zip file is a record of 22 bytes and a comment of 64 KiB at most.
ZIP_TAIL_BYTES = 22 + 65535
# A longer header of a safetensors file is not read.
MAX_HEADER_BYTES = 16 * 1024 * 1024


def is_truncated(descriptor: int, name: str) -> bool:
    """Whether bytes lack at a file's end. Known are zip files (PyTorch, NumPy's .npz, Keras) and
    safetensors; any other is taken to be whole.
    """
    size = os.fstat(descriptor).st_size
    if name.endswith(".safetensors"):
        return size < length_of_safetensors(descriptor)
    if os.pread(descriptor, 4, 0) == ZIP:
        return ZIP_END not in os.pread(descriptor, ZIP_TAIL_BYTES, max(0, size - ZIP_TAIL_BYTES))
    return False


def length_of_safetensors(descriptor: int) -> int:
    """What its header says; 0 where it can't be read."""
    head = os.pread(descriptor, 8, 0)
    if len(head) < 8:
        # An empty file is one that was just made.
        return 0 if head else 8
    (length,) = struct.unpack("<Q", head)
    if length > MAX_HEADER_BYTES:
        return 0
    header = os.pread(descriptor, length, 8)
    if len(header) < length:
        return 8 + length
    try:
        ends = [
            each["data_offsets"][1]
            for name, each in json.loads(header).items()
            if name != "__metadata__"
        ]
        return 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return 0
