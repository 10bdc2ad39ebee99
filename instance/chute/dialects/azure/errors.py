"""Azure's failures with what they mean."""

from __future__ import annotations

from collections.abc import Iterable

from instance.chute.dialects.openai_like.errors import bad_request, error_of, restated
from instance.chute.failures import CallFailed

NO_DEPLOYMENT = "DeploymentNotFound"
FILTERED = "content_filter"


def failed(failure: CallFailed, deployments: Iterable[str]) -> CallFailed:
    """The failure as it is to be told; `deployments` are the configured ones."""
    error = error_of(failure)
    if failure.status == 404 and error.get("code") == NO_DEPLOYMENT:
        names = ", ".join(sorted(set(deployments)))
        said = "Azure has no deployment of that name" + (f"; configured are {names}" if names else "")
        return restated(failure, code="model_not_found", message=f"{said}.")
    if failure.status == 400 and error.get("code") == FILTERED:
        categories = filtered_categories(failure)
        named = f": {', '.join(categories)}" if categories else ""
        return restated(failure, code="content_filter", message=f"Azure's content filter refused the prompt{named}.")
    return bad_request(failure)


def filtered_categories(failure: CallFailed) -> list[str]:
    """The categories for which the filter refused, with their severity: `violence (high)`."""
    error = error_of(failure)
    inner = error.get("innererror") or error.get("inner_error")
    result = None
    if isinstance(inner, dict):
        result = inner.get("content_filter_result") or inner.get("content_filter_results")
    found = []
    for name, row in result.items() if isinstance(result, dict) else ():
        if isinstance(row, dict) and row.get("filtered"):
            found.append(f"{name} ({row['severity']})" if row.get("severity") else name)
    return found
