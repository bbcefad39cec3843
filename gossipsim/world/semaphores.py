"""POSIX semaphores at addresses of shared memory: a process sleeps until another one posts, and no post is lost."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import time
from collections.abc import Callable

BYTES = 32
"""Room for one `sem_t` on 64-bit Linux, of glibc and of musl."""

SLICE = 0.2
"""Seconds of one system call of a longer wait: the call goes by the wall clock, which may be set meanwhile, and a peer
may have died."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Semaphores:
    """The operations on semaphores.

    Raises:
        OSError: on construction, where this system has none that processes can share.
    """

    def __init__(self) -> None:
        if sys.platform != "linux" or sys.maxsize < 2**32:
            raise OSError("semaphores in shared memory need 64-bit Linux")
        brief, blocking = ctypes.PyDLL(None), ctypes.CDLL(None, use_errno=True)  # the latter lets other threads run
        try:
            self._post, self._try, self._wait = brief.sem_post, brief.sem_trywait, blocking.sem_timedwait
            initialise = blocking.sem_init
        except AttributeError as error:
            raise OSError("the C library has no semaphores") from error
        for function in (self._post, self._try):
            function.argtypes = (ctypes.c_void_p,)
        self._wait.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Timespec))
        initialise.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint)
        fresh = ctypes.create_string_buffer(BYTES)
        shared, value = 1, 0
        if initialise(fresh, shared, value) != 0:
            raise OSError(ctypes.get_errno(), "no semaphore can be shared")
        self.fresh = fresh.raw
        """The bytes of a semaphore of value 0."""

    def post(self, address: int) -> None:
        """Adds one, and wakes a process that waits."""
        self._post(address)

    def take(self, address: int) -> bool:
        """Takes one, if there is one."""
        return bool(self._try(address) == 0)

    def wait(self, address: int, seconds: float, hopeless: Callable[[], bool]) -> bool:
        """Takes one; whether one came in time. Python's signal handlers run meanwhile.

        Args:
            hopeless: asked from time to time; True: no more will come than have.
        """
        if self._try(address) == 0:
            return True
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            nanoseconds = time.time_ns() + int(min(left, SLICE) * 1e9)
            until = _Timespec(*divmod(nanoseconds, 10**9))
            if self._wait(address, ctypes.byref(until)) == 0:
                return True
            if ctypes.get_errno() == errno.ETIMEDOUT and hopeless():
                break
        return self.take(address)


def mapped(file: int, start: int, length: int) -> int:
    """The address at which `length` bytes of an open file from `start` on (a multiple of a page) are now shared.

    Raises:
        OSError: where the system refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_int64)
    read_write, shared, failed = 3, 1, ctypes.c_void_p(-1).value
    address = libc.mmap(None, length, read_write, shared, file, start)
    if address is None or address == failed:
        raise OSError(ctypes.get_errno(), f"mmap: {os.strerror(ctypes.get_errno())}")
    return int(address)


def unmap(address: int, length: int) -> None:
    """Gives an address range back."""
    libc = ctypes.CDLL(None)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    libc.munmap(address, length)
