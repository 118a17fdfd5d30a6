"""Which exceptions a function of the package may raise, read off its source."""

import ast
import inspect
import textwrap
from collections.abc import Collection, Iterator


def raised(function, public: Collection) -> set[str]:
    """Names of the exceptions that a function raises, itself or in helpers.

    A helper is any function of the package that is not public: what a public one refuses, its own documentation says,
    and its caller may have ruled out.
    """
    found, seen = set(), set()
    waiting = [function]
    while waiting:
        function = inspect.unwrap(waiting.pop())
        if function in seen:
            continue
        seen.add(function)
        owner = function.__globals__.get(function.__qualname__.split(".")[0])
        names = function.__globals__ | {"self": owner, "cls": owner}
        for node in _reached(ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name)) | ast.Name(id=name)):
                    found.add(name)
                case ast.Call(func=called):
                    helper = inspect.unwrap(_value(called, names))
                    if inspect.isroutine(helper) and helper not in public and _ours(helper):
                        waiting.append(helper)
    return found - {"NotImplementedError"}  # says that a method is abstract


def constructors(kind: type) -> list:
    """The functions of the package that run when an object of a class is made."""
    made = (getattr(kind, name, None) for name in ("__init__", "__post_init__"))
    return [function for function in made if _ours(function) and function.__code__.co_filename != "<string>"]


def _reached(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Nodes of a function; of functions that are defined in it only those that it calls."""
    inner = {node.name: node for node in ast.walk(function) if isinstance(node, ast.FunctionDef)}
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef):
            continue
        yield node
        waiting += ast.iter_child_nodes(node)
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in inner:
                waiting += inner.pop(name).body


def _ours(thing) -> bool:
    return (getattr(thing, "__module__", None) or "").startswith("srlib") and hasattr(thing, "__code__")


def _value(node: ast.expr, names: dict):
    """What a dotted name stands for; attributes of modules and classes only."""
    match node:
        case ast.Name(id=name):
            return names.get(name)
        case ast.Attribute(value=base, attr=name):
            base = _value(base, names)
            return getattr(base, name, None) if inspect.ismodule(base) or inspect.isclass(base) else None
