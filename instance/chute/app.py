"""Chute, the proxy: what the server starts, mounts under `/v1` and asks about."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from instance import billing
from instance.billing.app import Billing
from instance.chute import route_store
from instance.chute.aliases import AliasTable
from instance.chute.catalogue import Catalogue
from instance.chute.client_address import TrustedProxies, client_address
from instance.chute.cost_lines import cost_lines, is_complete
from instance.chute.dialects.openai_responses.store import MIGRATIONS as RESPONSES_MIGRATIONS
from instance.chute.dialects.openai_responses.store import ResponseStore
from instance.chute.discovery import builtin_migrations, custom_modules
from instance.chute.endpoint import Endpoint
from instance.chute.exchange import Exchange
from instance.chute.meter import Histogram
from instance.chute.mock_model import MockModel
from instance.chute.models_endpoint import Asked, Sources, model_one, models_list
from instance.chute.modules.core.modelalias import ModelAlias
from instance.chute.prices import PriceTable
from instance.chute.providers import ProviderTable
from instance.chute.registry import Registry
from instance.chute.route_table import RouteTable
from instance.chute.router import Router
from instance.chute.sub_request import SERVICE as SUB_REQUESTS
from instance.chute.sub_request import SubRequests
from instance.chute.upstream import Upstream
from instance.core.errors import StockyardError
from instance.core.instance_file import may_call_private_networks
from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.chute.modules.other.tenantwall import TenantWall
    from instance.core.core import Core
    from instance.core.principals import Principal

REFUSED_ADDRESSES_MAX = 1024

log = logging.getLogger("stockyard.chute")


def components() -> list[tuple[str, Path]]:
    """The migrations of the proxy, of billing and of every module that has tables: `(component, folder)`."""
    found = [("chute", Path(__file__).parent / "migrations"), ("billing", Path(billing.__file__).parent / "migrations")]
    found.append(("responses", RESPONSES_MIGRATIONS))
    found += [(f"module:{name}", folder) for name, folder in builtin_migrations()]
    for _, cls in custom_modules():
        if cls.migrations is not None:
            found.append((f"module:{cls.name}", cls.migrations))
    return found


class Chute:
    """The proxy of one instance. `await start()` after the core is open; `endpoint` is the ASGI application for `/v1`."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.in_flight = 0
        self.streams = 0
        self.requests = 0
        self.errors = 0
        self.unrecorded = 0
        self.overhead = Histogram()
        self.last_request_ns = perf_counter_ns()
        self._loading: set[asyncio.Task[None]] = set()
        self._refused: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def start(self) -> None:
        """Build what a call needs and compile the first plan."""
        core = self.core
        self.trusted_proxies = TrustedProxies(core.settings.server.trusted_proxies)
        self.upstream = Upstream(allow_private_networks=may_call_private_networks(core.hosted))
        self.catalogue = Catalogue()
        self.prices = PriceTable(core.settings.prices, self.catalogue)
        self.providers = await ProviderTable.open(core, self.upstream, MockModel(core.clock))
        self.routes = RouteTable(core.settings.routes)
        self.routes.replace_stored(await route_store.stored_routes(core))
        self.aliases = AliasTable(core.settings.aliases)
        self.aliases.replace_stored(await route_store.stored_aliases(core))
        self.targets = Router(self.providers, self.routes)
        self.billing = Billing(core)
        await self.billing.start()
        self.responses = core.services["responses"] = ResponseStore(core)
        await self.responses.start()
        core.services.update(
            providers=self.providers,
            prices=self.prices,
            catalogue=self.catalogue,
            upstream=self.upstream,
            billing=self.billing,
            price=self.price,
        )
        core.services[SUB_REQUESTS] = SubRequests(self)
        self.registry = Registry(core)
        core.services["registry"] = self.registry
        core.services["forget_answer"] = self.forget_answer
        core.services.update(routes=self.routes, aliases=self.aliases, router=self.targets)
        await self.registry.start(self.providers.dialects)
        self.providers.changed = self._providers_changed
        self.endpoint = Endpoint(self)

    def _providers_changed(self) -> None:
        """Load the shims that new providers need ahead of their first call."""
        task = asyncio.get_running_loop().create_task(self.registry.load_shims(self.providers.dialects))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    async def stop(self) -> None:
        """Stop the modules and close the connections to providers; no call may be in flight any more."""
        await self.flush_refused()
        await self.registry.stop()
        await self.responses.stop()
        await self.upstream.close()

    def router(self) -> APIRouter:
        """The routes under `/api/proxy` and `/api/billing`, for the FastAPI application."""
        from instance.chute.module_routes import routers  # FastAPI is slow to import and not on the way of a call

        return routers(self)

    def models(
        self, principal: Principal, model: str, query: bytes = b"", headers: Mapping[bytes, bytes] | None = None
    ) -> dict[str, Any]:
        """The body of `GET /v1/models`, or of `GET /v1/models/{model}`; in Anthropic's shape where its header is there."""
        asked = Asked.read(query, headers or {})
        aliases = self.registry.slots["modelalias"].running
        sources = Sources(self.providers, self.prices, routes=self.routes.routes)
        if isinstance(aliases, ModelAlias):
            sources = replace(sources, aliases=aliases.listed(principal), only_aliases=aliases.settings.hide_others)
        wall: TenantWall | None = self.core.services.get("tenantwall")
        if wall is not None:
            sources = replace(sources, permits=wall.permits(principal, headers or {}))
        return model_one(principal, sources, model, asked) if model else models_list(principal, sources, asked)

    async def forget_answer(self, answer_id: str) -> int:
        """Drop an answer from every cache that is on; how many entries held it."""
        dropped = 0
        for name in ("cachelayer", "semanticcache"):
            module = self.registry.slots[name].running if name in self.registry.slots else None
            if module is not None:
                dropped += await module.store.forget(answer_id)  # type: ignore[attr-defined]
        return dropped

    def price(self, x: Exchange) -> None:
        """Fill in the call's cost lines from its usage and the price of who served; where that is not known, or was charged by
        what nobody counted, the call's cost is unknown."""
        usage = x.usage
        answer = x.answer
        target = answer.target if answer is not None else None
        if target is None:
            if not x.targets or not x.attempts:
                return
            target = x.targets[0]
        price = self.prices.of(target)
        reported = usage.apart.reported_nano if usage.apart is not None else None
        if reported is not None and (price is None or price.is_approximate):
            x.cost_lines.append(("reported", reported))
        elif price is None:
            x.cost_unknown = answer is not None or bool(usage.input or usage.output)
        else:
            if usage.source:
                x.cost_lines += cost_lines(price, usage)
            if answer is not None and not is_complete(price, usage, x.kind):
                x.cost_unknown = True

    def refused_key(self, x: Exchange, error: StockyardError) -> StockyardError:
        """Count a refused key, and what the caller gets for it: ipfence's refusal goes before the key's.

        The ledger gets one `auth_failure` a minute for each address and code."""
        if error.code == "key_lease_expired":
            return error  # nothing is wrong with the key, or with who sent it
        slot = self.registry.slots.get("ipfence")
        if slot is not None and slot.running is not None:
            try:
                x.client_ip = slot.running.admit(x.client_ip, x.headers)  # type: ignore[attr-defined]
            except StockyardError as denied:
                error = denied
                error.module = "ipfence"
            else:
                slot.running.refused(x.client_ip)  # type: ignore[attr-defined]
        refused = self._refused
        key = (x.client_ip, error.code)
        refused[key] = refused.get(key, 0) + 1
        if len(refused) > REFUSED_ADDRESSES_MAX:
            refused.popitem(last=False)
        return error

    def admit_to_console(self, peer: tuple[str, int] | None, headers: dict[bytes, bytes]) -> None:
        """Raise `ip_denied` for an address that ipfence keeps from the console and the management API."""
        fence = self.registry.slots["ipfence"].running
        if fence is not None:
            fence.admit_to_console(client_address(peer, headers, self.trusted_proxies), headers)  # type: ignore[attr-defined]

    async def flush_refused(self) -> None:
        """Write the counted refusals to the ledger; called by the server once a minute."""
        if not self._refused:
            return
        refused, self._refused = self._refused, OrderedDict()
        events = [
            LedgerEvent("auth_failure", "system", f"address:{address}", "refuse", {"code": code, "count": count})
            for (address, code), count in refused.items()
        ]
        await self.core.writer.write(lambda conn: None, events)

    def observe(self, x: Exchange) -> None:
        """Count a call that is over."""
        self.requests += 1
        if x.status == "error":
            self.errors += 1
        now = perf_counter_ns()
        self.last_request_ns = now
        overhead = now - x.started_ns - x.upstream_ns - x.waited_ns
        if overhead > 0:
            self.overhead.add(overhead)

    def log_fault(self, x: Exchange, error: Exception) -> None:
        """A fault of ours: its traceback to the log, under the trace's id."""
        log.error("call %s failed here: %s", x.id, "".join(traceback.format_exception(error)))
        x.note("fault", {"error": type(error).__name__}, module="core", hook="endpoint")

    def drain(self) -> None:
        """Refuse new calls from now on; those in flight go on."""
        self.endpoint.draining = True

    def resume(self) -> None:
        """Take calls again."""
        self.endpoint.draining = False
