"""Work that goes on after its answer was sent: kept alive, its failures logged, waited for at shutdown."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from backend.errors import AppError
from backend.web.logs import log

GRACE_SECONDS = 10.0


class Background:
    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def drain(self) -> None:
        """Let running work end; what does not is left to its queue message."""
        if self._tasks:
            _, running = await asyncio.wait(self._tasks, timeout=GRACE_SECONDS)
            for task in running:
                task.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, AppError):
            log.warning("background_work_failed", code=error.code, internal=error.internal)
        else:
            log.error("background_work_crashed", exc_info=error)
