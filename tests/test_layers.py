"""The layout of the package: who may import whom, and how large things may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

# From top to bottom. A module may import from its own row and from the rows below. A name stands
# for the module, or for everything in the package, unless a longer name says otherwise.
ROWS: tuple[tuple[str, ...], ...] = (
    ("procession", "procession.testing"),  # the root says what is public; testing may use anything
    ("procession.__main__", "procession.cli", "procession.commands"),
    ("procession.loader", "procession.launch", "procession.script"),
    ("procession.doctor", "procession.adapters", "procession.monitoring.report"),
    ("procession.stream",),
    ("procession.executors",),
    ("procession.engine",),
    ("procession.order",),
    ("procession.capture",),
    ("procession.monitoring",),
    (
        "procession.config",
        "procession.sources",
        "procession.frames",
        "procession.flows",
        "procession.partitions",
        "procession.errors",
        "procession.events",
        "procession.tree",
        "procession.optional",
    ),
)

FRAMEWORKS = {"keras", "tensorflow", "tf_keras", "jax", "jaxlib", "torch"}
FRAMEWORK_ROOMS = ("procession.adapters",)

MOST_LINES_IN_A_FILE = 300
MOST_LINES_IN_A_FUNCTION = 50
MOST_PARAMETERS = 8
MANY_PARAMETERS_BY_DESIGN = {"procession.loader.Loader.__init__", "procession.config.make_config"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


# --- reading ---


def modules(source: Path) -> dict[str, Path]:
    """Return the files of the package by the name under which they are imported."""
    found = {}
    for path in sorted(source.glob("procession/**/*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(node: ast.AST, known: set[str]) -> list[str]:
    """Return the modules that an import names: `from a import b` is a.b where that is a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        names = (f"{node.module}.{alias.name}" for alias in node.names)
        return sorted({name if name in known else node.module for name in names})
    return []


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs on import: nothing inside functions or `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from at_import_time(other)
            continue
        yield child
        yield from at_import_time(child)


def functions(node: ast.AST, inside: str) -> Iterator[tuple[str, Function]]:
    """Yield every function with its dotted name, nested ones and methods too."""
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, Function | ast.ClassDef):
            name = f"{inside}.{child.name}"
        if isinstance(child, Function):
            yield name, child
        yield from functions(child, name)


def parameters(function: Function) -> int:
    args = function.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    if names and names[0] in ("self", "cls"):
        del names[0]
    return len(names) + (args.vararg is not None) + (args.kwarg is not None)


def row(module: str) -> int | None:
    """Return the row of `module`, counted from the top: the longest name that fits decides."""
    fitting = [
        (len(name), number)
        for number, names in enumerate(ROWS)
        for name in names
        if module == name or (name != "procession" and module.startswith(f"{name}."))
    ]
    return max(fitting)[1] if fitting else None


# --- rules: each returns what breaks it ---


def without_a_row(source: Path) -> list[str]:
    return [name for name in modules(source) if row(name) is None]


def upward_imports(source: Path) -> list[str]:
    known = modules(source)
    broken = []
    for name, path in known.items():
        for node in ast.walk(parse(path)):
            for target in imported(node, set(known)):
                if target.split(".")[0] != "procession":
                    continue
                below, above = row(name), row(target)
                if below is not None and above is not None and above < below:
                    broken.append(f"{name}, line {node.lineno}, imports {target}")  # type: ignore[attr-defined]
    return broken


def relative_imports(source: Path) -> list[str]:
    return [
        f"{name}, line {node.lineno}"
        for name, path in modules(source).items()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def framework_imports(source: Path) -> list[str]:
    known = modules(source)
    return [
        f"{name} imports {target} when it is imported"
        for name, path in known.items()
        if not name.startswith(FRAMEWORK_ROOMS)
        for node in at_import_time(parse(path))
        for target in imported(node, set(known))
        if target.split(".")[0] in FRAMEWORKS
    ]


def sleeps(source: Path) -> list[str]:
    """Find time.sleep: waiting is for an event, a death or a deadline."""
    broken = []
    for name, path in modules(source).items():
        for node in ast.walk(parse(path)):
            called = isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep"
            taken = isinstance(node, ast.ImportFrom) and node.module == "time"
            if called or (taken and any(alias.name == "sleep" for alias in node.names)):  # type: ignore[attr-defined]
                broken.append(f"{name}, line {node.lineno}")  # type: ignore[attr-defined]
    return broken


def long_files(source: Path) -> list[str]:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules(source).items()}
    return [f"{name}: {n} lines" for name, n in lengths.items() if n > MOST_LINES_IN_A_FILE]


def long_functions(source: Path) -> list[str]:
    return [
        f"{name}: {length} lines"
        for module, path in modules(source).items()
        for name, function in functions(parse(path), module)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MOST_LINES_IN_A_FUNCTION
    ]


def wide_functions(source: Path) -> list[str]:
    return [
        f"{name}: {count} parameters"
        for module, path in modules(source).items()
        for name, function in functions(parse(path), module)
        if name not in MANY_PARAMETERS_BY_DESIGN
        if (count := parameters(function)) > MOST_PARAMETERS
    ]


RULES = (
    without_a_row,
    upward_imports,
    relative_imports,
    framework_imports,
    sleeps,
    long_files,
    long_functions,
    wide_functions,
)


# --- tests ---


def test_the_package_is_found() -> None:
    assert "procession" in modules(SOURCE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: object) -> None:
    assert callable(rule)
    broken = rule(SOURCE)
    assert not broken, "\n".join(["", *broken])


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "procession" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("order/plan.py", "from procession.engine import driver"),
        ("order/plan.py", "from procession.engine.driver import Driver"),
        ("order/plan.py", "import procession.engine.driver"),
        ("order/plan.py", "def late():\n    from procession import loader"),
        ("config.py", "from procession import Loader"),
        ("engine/driver.py", "from procession.testing import fakes"),
        ("monitoring/stats.py", "import procession.monitoring.report"),
        ("stream.py", "if True:\n    from procession.adapters.tf import to_tf"),
    ],
)
def test_a_planted_upward_import_is_found(tmp_path: Path, file: str, text: str) -> None:
    others = {"__init__.py": "", "loader.py": "", "engine/__init__.py": "", "engine/driver.py": ""}
    assert len(upward_imports(plant(tmp_path, {**others, file: text}))) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("__init__.py", "from procession.loader import Loader"),
        ("loader.py", "from procession import stream, config\nimport procession.launch"),
        (
            "engine/driver.py",
            "from procession.engine import wire\nfrom procession.order.plan import Plan",
        ),
        ("testing/zoo.py", "from procession import cli, Loader"),
        (
            "monitoring/report.py",
            "from procession.monitoring import stats\nimport procession.stream",
        ),
    ],
)
def test_imports_within_a_row_and_downward_are_fine(tmp_path: Path, file: str, text: str) -> None:
    names = ("loader", "stream", "config", "cli", "engine/wire", "order/plan", "monitoring/stats")
    others = {"__init__.py": "", **{f"{name}.py": "" for name in names}}
    assert upward_imports(plant(tmp_path, {**others, file: text})) == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (without_a_row, ""),
        (relative_imports, "from . import config"),
        (framework_imports, "import keras.utils"),
        (framework_imports, "try:\n    from torch import nn\nexcept ImportError:\n    pass"),
        (framework_imports, "class A:\n    import jax"),
        (sleeps, "import time\ntime.sleep(1)"),
        (sleeps, "from time import monotonic, sleep"),
        (long_files, "\n" * 301),
        (long_functions, "class A:\n  def f(self):\n" + "    pass\n" * 50),
        (wide_functions, "def f(a, b, c, d, /, e, f, *, g, h, i): ..."),
        (wide_functions, "class A:\n  def f(self, a, b, c, d, e, f, g, *h, **i): ..."),
    ],
)
def test_each_rule_finds_what_breaks_it(tmp_path: Path, rule: object, text: str) -> None:
    assert callable(rule)
    assert len(rule(plant(tmp_path, {"unplaced.py": text}))) == 1


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        (framework_imports, "adapters/tf.py", "import tensorflow"),
        (framework_imports, "loader.py", "def to_tf():\n    import tensorflow"),
        (framework_imports, "loader.py", "if TYPE_CHECKING:\n    import tensorflow"),
        (sleeps, "loader.py", "import time\ntime.monotonic()"),
        (long_files, "loader.py", "\n" * 300),
        (long_functions, "loader.py", "def f():\n" + "    pass\n" * 49),
        (wide_functions, "loader.py", "class A:\n  def f(self, a, b, c, d, e, f, g, h): ..."),
        (
            wide_functions,
            "loader.py",
            f"class Loader:\n  def __init__(self, {', '.join('abcdefghijk')}): ...",
        ),
    ],
)
def test_no_rule_finds_more(tmp_path: Path, rule: object, file: str, text: str) -> None:
    assert callable(rule)
    assert rule(plant(tmp_path, {file: text})) == []
