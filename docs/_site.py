"""What the site of docs/ needs beside mkdocs: the README as its first page, and links that stay inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Makes the README the first page."""
    readme = (Path(config.docs_dir).parent / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Keeps the text of links to files that are not in docs/, such as sources: the site does not have them."""
    inside = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)]*)?\)")

    def kept(found: re.Match[str]) -> str:
        here = Path(config.docs_dir, page.file.src_uri).parent
        target = (here / found[2]).resolve()
        return found[0] if target.is_relative_to(Path(config.docs_dir).resolve()) else found[1]

    return inside.sub(kept, markdown)
