"""One call and everything that happens to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from time import perf_counter_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from instance.chute.answer import JSON
from instance.chute.answer_head import head_lines
from instance.chute.shared_scan import SharedScan
from instance.chute.tokens import count_prompt_tokens
from instance.chute.usage import Usage

if TYPE_CHECKING:
    import asyncio

    from instance.chute.answer import Answer
    from instance.chute.chain import Plan
    from instance.chute.containment import Link
    from instance.chute.delta_hooks import DeltaHooks, Feed, Feeds
    from instance.chute.meter import Histogram
    from instance.chute.operation import Operation
    from instance.chute.provider_key import ProviderKey
    from instance.chute.routes import Route
    from instance.chute.targets import Target
    from instance.core.principals import Principal

DECISIONS_MAX = 256
TEXT_OUT_MAX_BYTES = 1 << 20
STANDS_IN = "stands_in"
"""In `x.state`: the answer is another model's, given because the call's own failed; nobody else is to get it as that one's."""
NO_TAGS: Mapping[str, str] = MappingProxyType({})


class Elsewhere:
    """`with x.elsewhere()`."""

    __slots__ = ("_running", "_x")

    def __init__(self, x: Exchange) -> None:
        self._x = x

    def __enter__(self) -> None:
        self._running, self._x.running = self._x.running, None

    def __exit__(self, *problem: object) -> None:
        self._x.running = self._running
        self._x.running_since_ns = perf_counter_ns()


class Exchange(SharedScan):
    """One request with its answer, usage, cost and the trail of decisions.

    `req` is the request in OpenAI form, `raw` the bytes it came in; a module that changes `req` calls `change()`, else
    the bytes are forwarded as they are. Times are nanoseconds of a monotonic clock; `started_wall_ns` is UTC.
    `client_body` is what the caller sent and is never changed.
    """

    id: str
    operation: Operation
    kind: str
    path: str
    headers: dict[bytes, bytes]
    started_ns: int
    started_wall_ns: int
    mark_ns: int
    request_id: str
    parent_id: str
    otel_trace_id: str
    otel_span_id: str

    principal: Principal | None
    client_ip: str
    user_agent: str
    user: str
    team: str
    client: str
    """The client that the call is made for; its team is then the client's own."""
    project: str
    source: str
    """What made the call: a caller (`live`), or a queue (`batch`)."""
    session: str
    tags: Mapping[str, str]

    req: JSON
    raw: bytes
    native: JSON | None
    """The caller's own decoded body where its dialect is not the canonical form, which is in `req`."""
    dialect_out: str
    """What was sent upstream; empty: what the target's provider speaks."""
    changed: bool
    dry: bool
    """The call is only explained: hooks decide as they would, and count, reserve and store nothing."""
    only_native: bool
    """More is asked than `req` says, which only a provider of the caller's own dialect can do: no cache answers it."""
    stream: bool
    usage_asked: bool
    model_requested: str
    targets: list[Target]
    allow: list[Callable[[Target], bool]]
    upstream_headers: list[tuple[bytes, bytes]]
    route: Route | None
    """The route that the asked model matched."""
    provider_key: ProviderKey | None
    """The key that the next attempt uses; `None`: the provider's own."""
    own_keys: Mapping[str, ProviderKey] | None
    """Keys that are used in place of all others, by provider: those of the call's client."""
    deadline_ns: int
    connect_timeout_s: float

    plan: Plan | None
    state: dict[str, Any]
    decisions: list[JSON]
    warnings: list[str]
    reached: int
    sampled: bool
    owner: Histogram | None
    """The times of the module whose `around` runs now."""
    skipped: set[str] | None
    """Modules that want no more events of the stream, by name; another set each time one is added."""
    feeds: Feeds | None
    """What modules gave by `take_texts`; another mapping each time one is added."""
    delta_hooks: DeltaHooks | None
    """The plan's `on_delta` hooks by `skipped` and `feeds` as they were at the last event."""
    current_module: str
    current_hook: str
    running: Link | None
    """The module whose own `prepare` or `around` awaits something now; `None` while a provider is waited for, or in `elsewhere`."""
    running_since_ns: int
    hung: Link | None
    """The module for whose sake the call was cancelled, until that is contained."""
    _counted: JSON | None
    _counted_tokens: int
    head_lines: bytes
    """The lines of the answer's head that the request decides; empty until there was time for them."""
    request_sha256: str
    """Hex digest of `raw`; empty until it was needed or there was time for it."""

    answer: Answer | None
    answer_id: str
    """The id that a streamed answer's events carry."""
    response_headers: list[tuple[bytes, bytes]]
    attempts: list[JSON]
    usage: Usage
    cost_lines: list[tuple[str, int]]
    saved_nano: int
    cost_unknown: bool
    """Whether something was used that has no known price, so that the sum of `cost_lines` is not the whole cost."""
    cache: str
    undelivered: list[tuple[JSON, Usage, int]] | None
    """Attempts that were paid and are not the call's answer: the last row of each, what it used, and its cost in nano-dollars."""
    upstream_ns: int
    waited_ns: int
    embedding_ns: int
    """Of that, what was waited for the embedder."""
    first_token_ns: int
    bytes_out: int
    text_out: list[str]
    """What a stream's first choice said to the caller so far."""
    text_out_size: int
    """Characters of that and of `text_beside`."""
    text_beside: dict[int, list[str]] | None
    """The same of its other choices, by their index."""
    beside_out_size: int
    """Characters that a stream has beside its texts: reasoning, and what tools are called with."""

    status: str
    http_status: int
    error_code: str
    error_message: str
    error_module: str
    raw_error: bytes
    client_gone: bool
    task: asyncio.Task[Any] | None
    """What runs the call, where it is known."""
    recorded: bool

    lens: Any
    """Who looks on at what is sent to providers and comes from them, where a developer watches the call."""

    timings: list[JSON] | None
    measures: JSON | None
    """What modules found out about the call, by name; they stand on its trace."""
    ledger_detail: Callable[[Exchange, JSON, bytes], None] | None
    """Changes what the call's ledger entry says, before it is written: `(x, detail, response)`."""
    safety_count: int
    stored_request: bytes | None
    stored_response: bytes | None

    # Far more than the attributes of which Python keeps the places by class: each call would have a dictionary that grows.
    __slots__ = ("__dict__", "__weakref__", *__annotations__)

    def __init__(
        self,
        trace_id: str,
        started_ns: int,
        started_wall_ns: int,
        path: str,
        headers: dict[bytes, bytes],
        operation: Operation,
    ) -> None:
        self.id = trace_id
        self.operation = operation
        self.kind = operation.kind
        self.path = path
        self.headers = headers
        self.started_ns = started_ns
        self.started_wall_ns = started_wall_ns
        self.mark_ns = started_ns
        self.req = {}
        self.targets = []
        self.allow = []
        self.upstream_headers = []
        self.state = {}
        self.attempts = []
        self.usage = Usage()
        self.cost_lines = []
        self.text_out = []
        self.response_headers = []
        self.warnings = []
        self.decisions = []
        self.request_id = ""
        self.parent_id = ""
        self.otel_trace_id = ""
        self.otel_span_id = ""
        self.principal = None
        self.client_ip = ""
        self.user_agent = ""
        self.user = ""
        self.team = ""
        self.client = ""
        self.project = "default"
        self.source = "live"
        self.session = ""
        self.tags = NO_TAGS
        self.raw = b""
        self.native = None
        self.dialect_out = ""
        self.changed = False
        self.dry = False
        self.only_native = False
        self.stream = False
        self.usage_asked = False
        self.model_requested = ""
        self.route = None
        self.provider_key = None
        self.own_keys = None
        self.deadline_ns = 0
        self.connect_timeout_s = 5.0
        self.plan = None
        self.reached = -1
        self.sampled = True
        self.owner = None
        self.skipped = None
        self.feeds = None
        self.delta_hooks = None
        self.current_module = ""
        self.current_hook = ""
        self.running = None
        self.running_since_ns = 0
        self.hung = None
        self.request_hits = None
        self.unscanned = False
        self._counted = None
        self._counted_tokens = 0
        self.scanned = None
        self.scanned_answer = None
        self.head_lines = b""
        self.request_sha256 = ""
        self.answer = None
        self.answer_id = ""
        self.undelivered = None
        self.saved_nano = 0
        self.cost_unknown = False
        self.cache = "off"
        self.upstream_ns = 0
        self.waited_ns = 0
        self.embedding_ns = 0
        self.first_token_ns = 0
        self.bytes_out = 0
        self.text_out_size = 0
        self.text_beside = None
        self.beside_out_size = 0
        self.status = "ok"
        self.http_status = 200
        self.error_code = ""
        self.error_message = ""
        self.error_module = ""
        self.raw_error = b""
        self.client_gone = False
        self.task = None
        self.recorded = False
        self.lens = None
        self.timings = None
        self.measures = None
        self.ledger_detail = None
        self.safety_count = 0
        self.stored_request = None
        self.stored_response = None

    def take_own_key(self, provider: str) -> bool:
        """Whether the call's client has a key of its own at a provider, which the next attempt then uses."""
        own = self.own_keys
        if own is None:
            return False
        key = own.get(provider)
        if key is not None or self.provider_key in own.values():
            self.provider_key = key
        return key is not None

    def change(self) -> None:
        """Say that `req` was changed: what is sent is written anew from it."""
        self.changed = self.unscanned = True
        self._counted = None

    def take_texts(self, module: str, feed: Feed | None) -> None:
        """From the next event on, plain ones are the module's `feed`'s; `None`: they are nothing to it."""
        self.feeds = {**(self.feeds or {}), module: feed}

    def prompt_tokens(self) -> int:
        """About how many tokens the request has (`tokens.count_prompt_tokens`), counted once until it is changed."""
        req = self.req
        if self._counted is not req:
            self._counted_tokens = count_prompt_tokens(req)
            self._counted = req
        return self._counted_tokens

    def note(
        self, action: str, detail: JSON | None = None, *, module: str = "", hook: str = "", took_ns: int = 0
    ) -> None:
        """Add one entry to the trail of decisions; the running module and hook are filled in by the chain.

        `detail` holds JSON values only and never a secret. At most `DECISIONS_MAX` entries are kept for one call.
        """
        decisions = self.decisions
        if len(decisions) < DECISIONS_MAX:
            decisions.append(
                {
                    "module": module or self.current_module,
                    "hook": hook or self.current_hook,
                    "action": action,
                    "detail": detail or {},
                    "at_ns": perf_counter_ns() - self.started_ns,
                    "took_ns": took_ns,
                }
            )

    def elsewhere(self) -> Elsewhere:
        """Wait in here for what has a limit of its own (a queue, a person, a branch, another call): it is not taken for the
        module's hanging (`Module.hang_s`)."""
        return Elsewhere(self)

    def measure(self, **values: Any) -> None:
        """Put values on the call's trace: JSON values under names of their own, no texts of the call."""
        if self.measures is None:
            self.measures = {}
        self.measures.update(values)

    def read_ahead(self) -> None:
        """Do what the answer and the record will ask of the request, while the provider is waited for."""
        if not self.request_sha256:
            self.request_sha256 = sha256(self.raw).hexdigest()
        if not self.head_lines:
            self.head_lines = head_lines(self)
        plan = self.plan
        if self.request_hits is None and plan is not None and plan.matcher is not None:
            self._scan(plan.matcher)

    def branch(self, targets: list[Target]) -> Exchange:
        """The same request as a call of its own to other targets, for modules that ask several at once.

        What it leaves behind (attempts, usage, costs, decisions) is its own until `absorb` takes it over.
        """
        other = object.__new__(Exchange)  # not a watched one: what runs beside the call would be taken for it
        for name in _STATE:
            setattr(other, name, getattr(self, name))
        other.__dict__.update(self.__dict__)
        other.targets = targets
        other.task = None
        other.provider_key = None
        other.upstream_headers = self.upstream_headers[:]
        other.state = dict(self.state)
        other.attempts = []
        other.usage = Usage()
        other.cost_lines = []
        other.cost_unknown = False
        other.text_out = []
        other.text_out_size = other.beside_out_size = 0
        other.text_beside = None
        other.undelivered = None
        other.response_headers = []
        other.warnings = []
        other.decisions = []
        other.answer = None
        other.upstream_ns = other.waited_ns = other.first_token_ns = 0
        return other

    def absorb(self, branch: Exchange, *, served: bool) -> None:
        """Take over what a branch left: its attempts and decisions always, and its usage and times when its answer is the
        call's. Costs are the module's to add: those of the branch that served are priced from the usage taken over here."""
        if branch.undelivered is not None:
            self.undelivered = [*(self.undelivered or ()), *branch.undelivered]
        if not served and branch.attempts and branch.usage.source:
            nano = branch.cost_nano - sum(nano for _, _, nano in branch.undelivered or ())
            self.undelivered = [*(self.undelivered or ()), (branch.attempts[-1], branch.usage, nano)]
        for attempt in branch.attempts:
            attempt["n"] = len(self.attempts) + 1
            self.attempts.append(attempt)
        self.decisions += branch.decisions[: DECISIONS_MAX - len(self.decisions)]
        self.cost_lines += branch.cost_lines
        if branch.cost_unknown:
            self.cost_unknown = True
        self.mark_ns = max(self.mark_ns, branch.mark_ns)
        if served:
            self.targets = branch.targets
            self.usage = branch.usage
            self.upstream_ns += branch.upstream_ns
            self.waited_ns += branch.waited_ns
            self.first_token_ns = branch.first_token_ns
            self.response_headers += branch.response_headers
            self.dialect_out = branch.dialect_out

    @property
    def cost_nano(self) -> int:
        """The call's cost in nano-dollars: the sum of its lines."""
        total = 0
        for _, nano in self.cost_lines:
            total += nano
        return total

    def remaining_s(self) -> float | None:
        """Seconds until the deadline (never negative), `None` without one."""
        if not self.deadline_ns:
            return None
        return max(0.0, (self.deadline_ns - perf_counter_ns()) / 1e9)


_STATE = tuple(name for name in (*SharedScan.__slots__, *Exchange.__slots__) if not name.startswith("__"))
