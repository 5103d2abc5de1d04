"""A disk in memory that logs what it is told: W(rite) T(rim) Z(ero) and F(lush). Run by nbdkit, not by Python.

A record is one letter, and for all but F the offset (8 bytes) and the length (4 bytes), little-endian; behind a W
come its bytes. When a flush is answered, its F and all that is before it are in the log's file.
"""

import builtins
import struct

import nbdkit  # only inside nbdkit

API_VERSION = 2

size = 0
path = ""
disk = bytearray()
log = None


def config(key, value):
    global size, path
    if key == "size":
        size = int(value)
    elif key == "log":
        path = value


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def get_ready():
    global disk, log
    disk = bytearray(size)
    log = builtins.open(path, "wb", buffering=1 << 20)  # noqa: SIM115 - for as long as nbdkit lives


def open(readonly):
    return 1


def get_size(handle):
    return size


def can_flush(handle):
    return True


def can_fua(handle):
    return nbdkit.FUA_NATIVE


def can_trim(handle):
    return True


def can_zero(handle):
    return True


def pread(handle, buffer, offset, flags):
    buffer[:] = disk[offset : offset + len(buffer)]


def pwrite(handle, buffer, offset, flags):
    disk[offset : offset + len(buffer)] = buffer
    log.write(b"W" + struct.pack("<QI", offset, len(buffer)) + bytes(buffer))
    if flags & nbdkit.FLAG_FUA:
        flush(handle, 0)


def flush(handle, flags):
    log.write(b"F")
    log.flush()


def trim(handle, count, offset, flags):
    _clear(b"T", offset, count)


def zero(handle, count, offset, flags):
    _clear(b"Z", offset, count)


def _clear(kind, offset, count):
    disk[offset : offset + count] = bytes(count)
    log.write(kind + struct.pack("<QI", offset, count))
