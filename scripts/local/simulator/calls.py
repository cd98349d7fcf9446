"""One call to a vendor: its arrival is logged, the faults it meets are applied, its outcome is logged."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from scripts.local.simulator.faults import Fault
from scripts.local.simulator.http import Request, ResetConnectionError, Response
from scripts.local.simulator.state import CallRecord, SimulatorState


class RefusedError(Exception):
    """A vendor's refusal, raised by the work of a call."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Vendor(Protocol):
    """How a vendor refuses."""

    name: str

    def refuse(self, refusal: RefusedError) -> Response: ...

    def canned(self, fault: str) -> RefusedError | None:
        """The vendor's refusal for faults such as `throttled` or `slots_full`."""
        ...


class Call(Struct):
    """What a vendor's work sees of its call: the record to commit, and the faults that shape a voice."""

    record: CallRecord
    faults: list[Fault]

    def fault(self, name: str) -> Fault | None:
        return next((fault for fault in self.faults if fault.fault == name), None)


Work = Callable[[Call], Awaitable[Response]]
GARBLED = Response(
    body=b"<!doctype html><title>Please stand by</title>", headers={"content-type": "text/html"}
)
BAD_GATEWAY = Response(
    status=502, body=b"<html><h1>502 Bad Gateway</h1></html>", headers={"content-type": "text/html"}
)


async def perform(
    state: SimulatorState, vendor: Vendor, request: Request, operation: str, subject: str, work: Work
) -> Response:
    """`subject` is what a fault may match: label, voice id or text."""
    record = state.arrive(vendor.name, operation, subject)
    call = Call(record, state.faults.take(vendor.name, operation, subject))
    record.met = [fault.fault for fault in call.faults]
    early = [fault for fault in call.faults if not fault.after_commit]
    late = [fault for fault in call.faults if fault.after_commit]
    try:
        response = await _apply(state, vendor, request, early) or await work(call)
        response = await _apply(state, vendor, request, late) or response
    except RefusedError as refusal:
        response = vendor.refuse(refusal)
        state.finish(record, f"{refusal.status} {refusal.code}")
    except ResetConnectionError as reset:
        state.finish(record, str(reset) or "reset")
        raise
    else:
        state.finish(record, str(response.status))
    return response


async def _apply(
    state: SimulatorState, vendor: Vendor, request: Request, faults: list[Fault]
) -> Response | None:
    """What the faults make of the call: another answer, a refusal, a reset, or only time."""
    for fault in faults:
        match fault.fault:
            case "latency":
                await asyncio.sleep(fault.seconds)
            case "hang":
                if not await state.hang(request):
                    raise ResetConnectionError("client left")
            case "reset":
                raise ResetConnectionError
            case "bad_gateway":
                return BAD_GATEWAY
            case "garbled":
                return GARBLED
            case "error":
                raise RefusedError(fault.status, fault.code, fault.message)
            case name:
                if refusal := vendor.canned(name):
                    return _with_retry_after(vendor.refuse(refusal), fault.retry_after)
    return None


def _with_retry_after(response: Response, seconds: float | None) -> Response:
    if seconds is not None:
        response.headers["retry-after"] = f"{seconds:g}"
    return response
