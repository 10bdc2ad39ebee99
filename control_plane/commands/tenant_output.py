"""What a person is shown of a tenant."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from control_plane.commands.client import Client, Refused
from control_plane.commands.output import show, wait_for_status

Slug = Annotated[str, typer.Argument(help="The tenant's name.")]
CREATED = ("tenant", "url", "root_url", "host_url", "api_key", "admin_key", "status")
SHOWN = (
    *("slug", "status", "reason", "plan", "url", "host_url", "epoch"),
    *("desired", "observed", "since", "next_action", "trouble", "queue", "suspend_after"),
)


def show_opened(api: Client, made: dict[str, Any], wait: bool, timeout_s: float, as_json: bool) -> None:
    """Print the addresses and first keys of a tenant, after it runs where that is waited for; exit code 1 if it does not."""
    made["tenant"] = made["slug"]
    if wait:
        try:
            made["status"] = wait_for_status(api, made["slug"], ("running",), timeout_s)["status"]
        except Refused as refusal:
            show_created(made, as_json)  # the keys are answered once: they must not be lost
            print(refusal, file=sys.stderr)
            raise typer.Exit(1) from None
    show_created(made, as_json)


def show_created(made: dict[str, Any], as_json: bool) -> None:
    """Print the addresses and first keys of a tenant."""
    answer = {name: made[name] for name in CREATED}
    show(answer, as_json, lambda: "\n".join(f"{name:10} {value}" for name, value in answer.items()))


def show_tenant(tenant: dict[str, Any], as_json: bool) -> None:
    """Print what is known of a tenant."""
    show(tenant, as_json, lambda: "\n".join(f"{head:12} {value}" for head, value in _lines(tenant)))


def _lines(tenant: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """What a person is shown of a tenant: what is known of it, with what was seen, wanted and in the way."""
    told = tenant | {"observed": _observed(tenant["observed"])}
    if tenant["failures"]:
        told["trouble"] = f"{tenant['trouble']} ({tenant['failures']} times, again in {tenant['retry_in_s']:.0f} s)"
    if tenant["queue"] is not None and tenant["queue"]["position"]:
        told["queue"] = f"{tenant['queue']['position']} to start, about {tenant['queue']['estimated_s']:.0f} s"
    else:
        told["queue"] = None
    for head in SHOWN:
        if told[head] is not None:
            yield head, told[head]


def _observed(seen: dict[str, Any] | None) -> str | None:
    if seen is None:
        return None
    if seen["instance"] is None:
        return f"no instance (at {seen['seen_at']})"
    is_so = [name for name in ("ready", "linked") if seen[name]]
    calls = [f"{seen['in_flight']} in flight"] if seen["in_flight"] is not None else []
    words = ", ".join([seen["instance"], f"epoch {seen['epoch']}", *is_so, *calls])
    return f"{words} (at {seen['seen_at']})"


def listed(words: dict[str, Any]) -> str:
    """Names with their values, one a line."""
    return "\n".join(f"{name:18} {value}" for name, value in words.items())
