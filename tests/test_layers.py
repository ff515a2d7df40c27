"""The rooms import downwards only, and importing the package costs nothing."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import rfcompare

PACKAGE = Path(rfcompare.__file__).parent

# From the bottom up; rooms on one line may know each other.
ROOMS = (
    ("errors",),
    ("quantities",),
    ("bank",),
    ("models",),
    ("simulation", "estimation", "alignment"),
    ("sources",),
    ("training",),
    ("fitting",),
    ("descriptors",),
    ("taxonomy", "columns", "filtering", "frontend", "recording"),
    ("comparison", "matching"),
    ("figures",),
    ("pipeline",),
    ("reporting", "cli"),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
HEAVY = (
    "torch", "torchvision", "xarray", "pandas", "scipy", "matplotlib", "seaborn", "numba", "dask",
)  # fmt: skip
IMPORT_CPU_SECONDS = 0.5  # what a user is promised; the package itself needs about a tenth of it


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms named by any import of the file, also inside functions and under TYPE_CHECKING."""
    package = ["rfcompare", *path.relative_to(PACKAGE).parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    rooms = {name.split(".")[1] for name in names if name.startswith("rfcompare.")}
    return {room for room in rooms if room in LEVEL}


def test_every_file_belongs_to_a_room() -> None:
    assert {room_of(path) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    room = room_of(path)
    upward = {other for other in imported_rooms(path) if other != room and LEVEL[other] > LEVEL[room]}
    assert not upward, f"{room} imports {sorted(upward)}, which lie above it"


def test_the_reader_of_imports_sees_those_inside_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def f():\n    from rfcompare.cli import main\n    import rfcompare.pipeline\n    from . import figures\n"
    (tmp_path / "models.py").write_text(code)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert imported_rooms(tmp_path / "models.py") == {"cli", "pipeline", "figures"}


def test_only_the_rooms_of_networks_know_torch() -> None:
    """So a report of fields and kernels in files never loads it; the wheel's report runs without it."""
    imported = {
        room_of(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("torch", "torchvision"))
        or (
            isinstance(node, ast.Import)
            and {alias.name.split(".")[0] for alias in node.names} & {"torch", "torchvision"}
        )
    }
    assert imported == {"sources", "training", "taxonomy", "fitting", "frontend", "recording"}


def test_import_is_light() -> None:
    code = (
        "import json, sys, time; t = time.process_time(); import rfcompare; "
        "print(json.dumps([time.process_time() - t, sorted({m.split('.')[0] for m in sys.modules})]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds, modules = json.loads(out)
    assert not set(HEAVY) & set(modules)
    assert seconds < IMPORT_CPU_SECONDS


def test_rooms_that_the_documentation_names_load_by_themselves() -> None:
    """An example pasted into a fresh interpreter works without an import of the room before it."""
    for room in ("bank", "estimation", "simulation", "sources", "taxonomy"):
        code = f"import rfcompare as rfc; rfc.{room}.__name__"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_loads() -> None:
    for name in rfcompare.__all__:
        assert getattr(rfcompare, name) is not None
    assert rfcompare.__version__
