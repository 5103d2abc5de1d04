"""Many at a time, or one alone: people's orders work on lanes that a reload exchanges."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turnstile:
    """`shared` for those who need that nothing is exchanged meanwhile, `alone` for who exchanges it."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Beside others of this kind; behind one who waits to be alone."""
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """When all who are inside have gone; nobody comes in meanwhile."""
        async with self._door:
            await self._empty.wait()
            yield
