"""Reading a body: whatever the bytes are, the answer is a value or a problem."""

from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.datastructures import FormMultiDict

from backend.errors import InspectionUnavailable, MalformedBody
from backend.web.strict_input import require_valid

T = TypeVar("T")


class BoundedRequest(Request[Any, Any, Any]):
    """Litestar's own answers 500 to text that is not UTF-8, to values nested too deep, and on a full disk."""

    async def json(self) -> Any:
        """Validated where the route names the type of its body: the framework takes a text for a number."""
        value = decode_json(await self.body())
        handler = self.scope.get("route_handler")
        data = handler.parsed_fn_signature.parameters.get("data") if handler else None
        if data is not None:
            require_valid(value, data.annotation)
        return value

    async def form(self) -> FormMultiDict:
        """A large file is written to disk as it comes. Raises InspectionUnavailable where it cannot be."""
        try:
            return await super().form()
        except OSError as error:
            raise InspectionUnavailable(internal=f"form: {error.strerror or error}") from error


def read_json(body: bytes, kind: type[T]) -> T:
    """Raises MalformedBody, or InvalidInput where the JSON is not of this type."""
    return require_valid(decode_json(body), kind)


def decode_json(body: bytes) -> Any:
    """Raises MalformedBody."""
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise MalformedBody("The body is nested too deep.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MalformedBody(f"The body is not JSON: {error}.") from None
