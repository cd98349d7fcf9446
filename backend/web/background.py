"""Tasks that run after their response was sent. Failures are logged, and shutdown waits for them."""

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
        """Wait for the running tasks. One that takes longer is cancelled; its queue message continues it."""
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
