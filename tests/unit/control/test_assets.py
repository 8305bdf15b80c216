"""The dashboard's files: served whole, with a policy that lets nothing else in, and complete without a build step."""

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import control
from control import assets

FILES = {path.name: path.read_text() for path in (Path(control.__file__).parent / "dashboard").iterdir()}
IMPORTS = re.compile(r'^import \{([^}]*)\} from "/dashboard/([a-z]+\.js)";$', re.MULTILINE)


@pytest.fixture
async def client() -> Any:
    app = web.Application()
    app.router.add_get("/", assets.index)
    app.router.add_get(f"{assets.PREFIX}/{{name}}", assets.asset)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize("name", FILES)
async def test_each_file_is_served_and_asked_for_again_only_when_it_changed(client: Any, name: str) -> None:
    answer = await client.get("/" if name == "index.html" else f"/dashboard/{name}")
    assert (answer.status, await answer.text()) == (200, FILES[name])
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await client.get(f"/dashboard/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fassets.py", "%2e%2e%2f%2e%2e%2fpyproject.toml", "__init__.py"])
async def test_nothing_else_is_served(client: Any, name: str) -> None:
    assert (await client.get(f"/dashboard/{name}")).status == 404


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_a_module_imports_what_another_exports_and_uses_it(name: str) -> None:
    imported = IMPORTS.findall(FILES[name])
    assert len(imported) == FILES[name].count("\nimport ") + FILES[name].startswith("import ")
    for names, module in imported:
        for each in names.split(","):
            assert re.search(
                rf"^export (async )?(function|const|let|class) {each.strip()}\b", FILES[module], re.MULTILINE
            )
            assert len(re.findall(rf"\b{each.strip()}\b", FILES[name])) > 1, f"{each} is not used"


def test_nothing_is_fetched_from_elsewhere() -> None:
    for name, text in FILES.items():
        hosts = set(re.findall(r"(?:https?:)?//([a-z0-9-]+(?:\.[a-z0-9-]+)+)", text))
        assert hosts <= {"www.w3.org", "docs.example.org"}, name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name
