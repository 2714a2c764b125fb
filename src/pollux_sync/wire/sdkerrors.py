"""Exceptions of vendors' SDKs, converted to those that the core's classifier knows."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pollux_sync.errors import PolluxError
from pollux_sync.wire.bodies import convert_response
from pollux_sync.wire.faults import HttpError, ReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@contextmanager
def convert_sdk_errors(sdk: ModuleType) -> Iterator[None]:
    """Convert exceptions of ``sdk`` to those that the core's classifier knows.

    For SDKs whose module has APIStatusError, APITimeoutError, APIConnectionError and APIResponseValidationError, as
    one generator of SDKs writes them for several vendors.
    """
    try:
        yield
    except sdk.APIStatusError as error:
        raise HttpError(convert_response(error.response)) from error
    except sdk.APITimeoutError as error:
        raise TimeoutError("the SDK's request timed out") from error
    except sdk.APIConnectionError as error:
        # The content of a request may raise it while it is read, a file that has changed or was stopped; or the body of
        # an error, which is read beneath the SDK.
        cause = error.__cause__
        if isinstance(cause, PolluxError | ReplyError | ConnectionAbortedError | TimeoutError):
            raise cause from cause.__cause__
        raise ConnectionError(f"the SDK's request failed: {error.__cause__ or error}") from error
    # An SDK that reads the body as JSON lets its decoder's ValueError through.
    except (sdk.APIResponseValidationError, ValueError) as error:
        raise ReplyError("the answer is not valid JSON, perhaps cut off", retryable=True) from error


@contextmanager
def convert_body_errors() -> Iterator[None]:
    """Convert the HTTP library's exceptions of a body that is read in chunks, which the SDKs do not convert.

    For SDKs that use httpx, or httpx2, its successor.
    """
    try:
        yield
    except _find_http_errors("DecodingError") as error:
        raise ReplyError("the answer cannot be decompressed", retryable=True) from error
    # Chained, since `classify_error` finds a time-out among the causes.
    except _find_http_errors("RequestError") as error:
        raise ConnectionError(f"the SDK's request failed: {error}") from error


def _find_http_errors(name: str) -> tuple[type[Exception], ...]:
    """Return the exceptions of this name of those libraries that are in use. Imports none."""
    # The core has neither as a dependency; a library that was not imported cannot have raised.
    modules = map(sys.modules.get, ("httpx2", "httpx"))
    return tuple(getattr(module, name) for module in modules if module is not None)
