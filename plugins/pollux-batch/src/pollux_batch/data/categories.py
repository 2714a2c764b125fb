"""The kinds of failure that results and guardrails name."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, runtime_checkable

import attrs


class ErrorCategory(StrEnum):
    """The categories of failures."""

    # The provider refused or failed.
    RATE_LIMIT = "rate_limit"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    QUOTA_EXHAUSTED = "quota_exhausted"
    USAGE_LIMIT_EXCEEDED = "usage_limit_exceeded"
    AUTHENTICATION = "authentication"
    PERMISSION_DENIED = "permission_denied"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    SERVER_OVERLOAD = "server_overload"
    SERVER_TIMEOUT = "server_timeout"
    UPSTREAM_ERROR = "upstream_error"
    API_ERROR = "api_error"
    API_TIMEOUT = "api_timeout"
    TIMEOUT = "timeout"
    NETWORK_ERROR = "network_error"
    CONNECTION_ERROR = "connection_error"
    # The answer does not do, or the code that reads it is wrong.
    VALIDATION_ERROR = "validation_error"
    STRUCTURED_OUTPUT_VALIDATION_ERROR = "structured_output_validation_error"
    STRUCTURED_OUTPUT_SCHEMA_REJECTED = "structured_output_schema_rejected"
    LOGIC_ERROR = "logic_error"
    EMPTY_RESPONSE = "empty_response"
    UNKNOWN = "unknown"
    CLASSIFIER_ERROR = "classifier_error"
    # Limits of the run.
    FRAMEWORK_TIMEOUT = "framework_timeout"
    RATE_LIMIT_RETRIES_EXCEEDED = "rate_limit_retries_exceeded"
    FRAMEWORK_TOTAL_ITEM_TIMEOUT = "framework_total_item_timeout"
    BATCH_DEADLINE_EXCEEDED = "batch_deadline_exceeded"
    BATCH_ABORTED = "batch_aborted"
    BATCH_BUDGET_EXCEEDED = "batch_budget_exceeded"
    # Token limits.
    TOKEN_ESTIMATOR_REQUIRED = "token_estimator_required"  # noqa: S105 - a category, not a token
    TOKEN_ESTIMATION_ERROR = "token_estimation_error"  # noqa: S105
    TOKEN_ESTIMATE_EXCEEDS_LIMIT = "token_estimate_exceeds_limit"  # noqa: S105
    QUOTA_SCOPE_ERROR = "quota_scope_error"
    # Middleware and stored results.
    MIDDLEWARE_CONTRACT_ERROR = "middleware_contract_error"
    MIDDLEWARE_FILTERED = "middleware_filtered"
    ARTIFACT_PREPARATION_ERROR = "artifact_preparation_error"
    ARTIFACT_SERIALIZATION_ERROR = "artifact_serialization_error"


class TimeoutCategory(StrEnum):
    """The limit of time that was reached."""

    FRAMEWORK_EXECUTION_TIMEOUT = "framework_execution_timeout"
    FRAMEWORK_TOTAL_ITEM_TIMEOUT = "framework_total_item_timeout"
    PROVIDER_OR_TRANSPORT_TIMEOUT = "provider_or_transport_timeout"
    ADMISSION_TIMEOUT = "admission_timeout"


@attrs.frozen(kw_only=True)
class ErrorInfo:
    """The verdict of a classifier on an error.

    * ``is_retryable``: trying the item again may help.
    * ``is_rate_limit``: the whole scope pauses, and the item is tried again without using up an attempt.
    * ``is_timeout``: a limit of time was reached.
    * ``error_category``: one of `ErrorCategory`, or a word of your own.
    * ``suggested_wait``: the seconds that the provider asks for, None if it does not.
    * ``hint``: the next step for whoever reads the error.
    """

    is_retryable: bool
    is_rate_limit: bool = False
    is_timeout: bool = False
    error_category: str = ErrorCategory.UNKNOWN
    suggested_wait: float | None = None
    hint: str | None = None


@runtime_checkable
class ErrorClassifier(Protocol):
    """Tells what kind of failure an exception is."""

    def classify(self, exception: Exception) -> ErrorInfo:
        """Return what is known of an exception; called from many threads."""
        ...
