"""The reference page of what the official SDKs do with every provider, from the tables that the tests run."""

from __future__ import annotations

from docs.schema_table import markdown
from tests.contract.sdk_examples import EXAMPLES
from tests.contract.sdk_lacks import Refused, lacks
from tests.contract.sdk_providers import PROVIDERS

INTRO = """# SDKs and providers

Each line is an ordinary example of the official `openai` or `anthropic` SDK, each column a dialect that a provider speaks. Every
cell is run by the tests, against a mock upstream that speaks the provider's own dialect and refuses what its schema refuses:
`yes` means that the example works as with the SDK's own provider, streams and errors included. Where a provider has nothing of the
kind, the cell names the error that the caller gets; *dropped* means that the field is left out, and the call's trace says so.

"""


def sdk_page() -> str:
    """The page's text."""
    missing = {provider.name: lacks(provider) for provider in PROVIDERS}
    rows = []
    for name in EXAMPLES:
        row = [name]
        for provider in PROVIDERS:
            lack = missing[provider.name].get(name)
            row.append("yes" if lack is None else f"`{lack.code}`" if isinstance(lack, Refused) else "*dropped*")
        rows.append(row)
    return INTRO + markdown(["example", *(provider.name for provider in PROVIDERS)], rows)
