"""`python -m tests.scripts.supervisor DIRECTORY`: a stack that stays until it is signalled."""

import asyncio
import sys
from pathlib import Path

from scripts.local.dev import cancelled_by_signal
from scripts.local.supabase.stack import running_stack
from tests.clusters import SPEED


async def hold(directory: Path) -> None:
    async with running_stack(directory, postgres_settings=SPEED):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(cancelled_by_signal(hold(Path(sys.argv[1]))))
