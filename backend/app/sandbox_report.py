"""Tells once, at start, which restrictions of the sandbox this machine's kernel refuses."""

import msgspec

from backend.sandbox.pool import WorkerFailure, WorkerPool
from backend.web.logs import log


async def report_sandbox() -> None:
    """One line where a restriction is refused, none where all hold. See ADR 33 for what each of them is."""
    pool = WorkerPool("backend.sandbox.report", size=1)
    try:
        refused = msgspec.json.decode(await pool.run(b""), type=list[str])
    except WorkerFailure as error:
        log.error("sandbox_unusable", reason=str(error))
    else:
        if refused:
            log.warning("sandbox_degraded", refused=refused)
    finally:
        await pool.aclose()
