"""How the source is laid out: a file holds one concept, and a name stands for one thing."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "defusion"
FILES = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}


def test_no_file_is_longer_than_400_lines() -> None:
    long = {name: count for name, text in FILES.items() if (count := text.count("\n")) > 400}
    assert not long


def test_no_public_class_is_defined_twice() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for name, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    assert len(places) > 100
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_a_constant_has_one_value_wherever_its_name_stands() -> None:
    """`METRICS` is what the catalogue looks for in each family of metrics."""
    values: dict[str, set[str]] = defaultdict(set)
    for text in FILES.values():
        for node in ast.parse(text).body:
            named = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in named:
                if isinstance(target, ast.Name) and target.id.isupper() and target.id[0] != "_":
                    values[target.id].add(ast.unparse(node.value))  # type: ignore[attr-defined]
    del values["METRICS"]
    assert len(values) > 100
    assert not {name: each for name, each in values.items() if len(each) > 1}
