"""The style check of docs/_style.py finds what it is there for. `make check` runs it on all pages and sources."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]

pytest.importorskip("proselint", reason="the style check needs it")


@pytest.fixture
def style():
    spec = spec_from_file_location("style", HOUSE / "docs" / "_style.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("style", None)


PAGE = f"""# A page

We utilize it. `utilize` is code.

```console
$ utilize
```

| a table | may be as long as it likes and utilize anything |

{"word " * 50}end.

At the end of the day, it is very unique.
"""

CODE = '''"""Means, in order to blend."""

TEXT = "this is obviously a message"
SHORT = "obviously"
# A comment that,
# obviously, has two lines.
'''


def test_a_page_is_read_without_its_code(style, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    faults = list(style.faults_of(page))
    assert faults[0] == "3: 'utilize'; write use"
    assert faults[1].startswith("11: a sentence of 51 words")
    assert any("cliché" in fault for fault in faults[2:])
    assert all(fault.startswith(("3:", "11:", "13:")) for fault in faults)


def test_docstrings_comments_and_messages_are_read(style, tmp_path):
    file = tmp_path / "code.py"
    file.write_text(CODE)
    faults = list(style.faults_of(file))
    assert {fault.partition(":")[0] for fault in faults} == {"1", "3", "5"}
