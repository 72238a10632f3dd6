"""`procession run`: an unmodified script as `__main__`, on this engine, as if Python itself had run it."""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, NamedTuple

from procession.engine import supervisor
from procession.errors import ProcessionError


class TargetError(ProcessionError):
    """There is nothing that could be run under the name that was given."""


class Program(NamedTuple):
    """What is to be run as `__main__`."""

    code: CodeType
    text: str | bytes | None  # its source, to read its imports in; None: unknown
    name: str  # sys.argv[0]
    directory: str | None  # sys.path[0]; None: as it is
    spec: importlib.machinery.ModuleSpec | None = None  # of a module; None: of a file
    file: str | None = None


def find(target: str, *, module: bool) -> Program:
    """Find a script, a directory or zip file with a `__main__.py`, "-" (standard input), or a module by its name.

    Raises:
        TargetError: there is none.
        SyntaxError: it is no Python.
    """
    if module:
        return _module(target)
    if target == "-":
        text = sys.stdin.read()
        return Program(compile(text, "<stdin>", "exec", dont_inherit=True), text, "-", "")
    path = Path(target)
    if not path.exists():
        raise TargetError(
            f"there is no file {target!r} in {os.getcwd()}. To run a module by its name, write: procession run -m NAME"
        )
    importer = pkgutil.get_importer(os.path.abspath(target))
    if path.is_dir() or type(importer).__name__ == "zipimporter":
        return _container(target, importer)
    with io.open_code(os.path.abspath(target)) as file:
        source = file.read()
    code = compile(source, os.path.abspath(target), "exec", dont_inherit=True)
    directory = str(Path(target).resolve().parent)  # as Python does: behind links
    return Program(code, source, target, directory, file=os.path.abspath(target))


def execute(program: Program, arguments: list[str]) -> int:
    """Run a program as `__main__`; return the exit status, 1 where it has raised, which is told as Python would.

    Raises:
        SystemExit: the program has; Python then does what that says.
        KeyboardInterrupt: the program was interrupted, which has been told; Python then ends by that signal.
    """
    sys.argv[:] = [program.name, *arguments]
    main = _main_of(program)
    sys.modules["__main__"] = main
    try:
        exec(program.code, main.__dict__)
    except SystemExit as error:
        error.__traceback__ = _below(error.__traceback__)
        raise
    except BaseException as error:
        error.__traceback__ = _below(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            sys.excepthook = lambda *_: None  # it has been told, and ends the process by its signal
            raise
        return 1
    return 0


def prepare(program: Program) -> None:
    """Have modules found where the program would find them; and start the template, to import what its lines name.

    Only what is installed: modules of the user's own may do anything when they are imported.
    """
    if program.directory is not None and not sys.flags.safe_path:
        sys.path[0] = program.directory
    tree = ast.parse(program.text or "")
    installed = [path for name in ("purelib", "platlib", "stdlib", "platstdlib") if (path := sysconfig.get_path(name))]
    origins = {name: _origin(name) for name in _imports(tree)}
    modules = {
        name: origin for name, origin in origins.items() if any(origin.startswith(path + os.sep) for path in installed)
    }
    supervisor.preload(modules, dict(_environment(tree)))


def _module(name: str) -> Program:
    directory = os.getcwd()
    if not sys.flags.safe_path:
        sys.path[0] = directory
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(name + ".__main__")
    except ImportError as error:
        raise TargetError(f"no module named {name!r} can be run: {error}") from error
    code = getattr(spec and spec.loader, "get_code", lambda _: None)(spec.name if spec else name)
    if spec is None or code is None:
        raise TargetError(
            f"no module named {name!r} can be run: looked in {directory} and the installed packages. To run a file, "
            "write: procession run FILE.py"
        )
    text = getattr(spec.loader, "get_source", lambda _: None)(spec.name)
    return Program(code, text, spec.origin or name, directory, spec, spec.origin)


def _container(target: str, importer: Any) -> Program:
    spec = importer.find_spec("__main__") if importer is not None else None
    if spec is None:
        raise TargetError(f"there is no __main__.py in {target!r}, so it cannot be run")
    code = spec.loader.get_code("__main__")
    return Program(code, spec.loader.get_source("__main__"), target, os.path.abspath(target), spec, spec.origin)


def _main_of(program: Program) -> ModuleType:
    main = ModuleType("__main__")
    values = {"__builtins__": builtins, "__annotations__": {}}
    if program.file is not None:
        values |= {"__file__": program.file, "__cached__": None}
    if program.spec is not None:
        values |= {"__spec__": program.spec, "__package__": program.spec.parent, "__loader__": program.spec.loader}
    elif program.file is not None:
        values["__loader__"] = importlib.machinery.SourceFileLoader("__main__", program.file)
    main.__dict__.update(values)
    return main


def _below(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the program's own first line on."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """What runs when the program is started: all but what is in functions and classes."""
    waiting: list[Any] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, ast.stmt):
            yield node
        waiting.extend(
            child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.excepthandler))
        )


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _environment(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a program sets in `os.environ`, where that can be read off it: KERAS_BACKEND, above all."""
    for node in _statements(tree):
        match node:
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str() as name))],
                value=ast.Constant(value=str() as value),
            ):
                yield name, value
            case ast.Expr(
                value=ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="setdefault"),
                    args=[ast.Constant(value=str() as name), ast.Constant(value=str() as value)],
                )
            ) if name not in os.environ:
                yield name, value


def _origin(name: str) -> str:
    """The file of a module's package; empty if there is none, which the program will be told."""
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return ""
    return (spec.origin if spec is not None else None) or ""


def explained(error: SyntaxError) -> str:
    """A SyntaxError of the program, as Python tells it."""
    return "".join(traceback.format_exception_only(error))
