"""Where the ranks of one machine, forked from one process, meet: in memory that they share, or by gloo."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from gossipsim.world.gloo import ProcessGroup
from gossipsim.world.shared_memory import Shared, SharedMemory
from gossipsim.world.transport import Alone, Transport, demanded


class Meeting:
    """Prepared before the ranks are forked; every rank then takes its transport, and the launcher closes it.

    Raises:
        ValueError: for a GOSSIPSIM_TRANSPORT that there is not, or not here.
    """

    def __init__(self, size: int, device: str) -> None:
        self._size, self._device = size, device
        self._memory = None if size == 1 or device != "cpu" else shared_memory(size)
        self._store = _Store() if size > 1 and self._memory is None else None

    def transport(self, rank: int) -> Transport:
        """Connects a rank with the others."""
        if self._memory is not None:
            return Shared(self._memory, rank)
        if self._store is None:
            return Alone(self._device)
        if Path("/sys/class/net/lo").exists():
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        return ProcessGroup(rank, self._size, self._store.url, device=self._device, local_rank=rank)

    def close(self) -> None:
        """Leaves nothing behind."""
        if self._memory is not None:
            self._memory.close()
        if self._store is not None:
            self._store.close()
        self._memory = self._store = None


def shared_memory(size: int) -> SharedMemory | None:
    """Memory for `size` processes, or None where gloo is wanted, or all that there is.

    Raises:
        ValueError: where GOSSIPSIM_TRANSPORT asks for shared memory and this system has none.
    """
    wanted = demanded()
    if wanted == "gloo":
        return None
    try:
        return SharedMemory(size)
    except OSError as error:
        if wanted == "shared":
            raise ValueError(f"environment variable GOSSIPSIM_TRANSPORT is 'shared', but {error}") from error
        return None


class _Store:
    """The file in which ranks exchange their gloo addresses, so that no port is opened and 64 of them meet soon.

    On Linux it has no name, and so is gone with its last process.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._folder: Path | None = None
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("gossipsim-rendezvous")
            self.url = f"file:///proc/self/fd/{self._file}"
        else:
            self._folder = Path(tempfile.mkdtemp(prefix="gossipsim-"))
            self.url = f"file://{self._folder / 'rendezvous'}"

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
