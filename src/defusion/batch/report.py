"""The report of a batch, one HTML file: failures with their reasons, and the first scenes with thumbnails."""

from __future__ import annotations

import time
from html import escape
from importlib import resources
from string import Template

from defusion.batch.journal import Entry, Journal
from defusion.batch.scenes import readable

#: Most failures that are listed.
_FAILURES = 10_000


def page(journal: Journal, thumbnails: int) -> str:
    """Makes the report from a journal.

    Args:
        journal: The journal.
        thumbnails: Number of finished scenes that are shown.
    """
    done, failed = journal.count("done"), journal.count("failed")
    lead = f"{done} done, {failed} failed; {time.strftime('%Y-%m-%d %H:%M')}"
    if done > thumbnails or failed > _FAILURES:
        lead += (
            f". This page shows the first {thumbnails} finished and {_FAILURES} failed scenes; batch.sqlite has all"
        )
    text = Template(resources.files(__package__).joinpath("report.html").read_text("utf-8")).substitute(
        lead=escape(lead),
        failed="\n".join(map(_failed_row, journal.entries("failed", _FAILURES))),
        failures="" if failed else "hidden",
        done="\n".join(map(_done_row, journal.entries("done", thumbnails))),
    )
    return readable(text)


def _failed_row(entry: Entry) -> str:
    return f"<tr><th>{escape(entry.scene)}</th><td>{escape(entry.reason or '')}</td></tr>"


def _done_row(entry: Entry) -> str:
    pictures = "".join(
        f'<td><img alt="{what}" loading="lazy" src="data:image/webp;base64,{escape(data)}"></td>'
        for what, data in zip(("first source", "result"), entry.thumbnails, strict=False)
    )
    facts = {name: escape(str(entry.facts.get(name, ""))) for name in ("task", "why", "width", "height", "sources")}
    notes = "".join(f"<p>{escape(note)}</p>" for note in entry.notes)
    return (
        f"<tr><th>{escape(entry.scene)}</th>{pictures or '<td></td><td></td>'}"
        f"<td>{facts['task']}<p>{facts['why']}</p></td>"
        f"<td>{facts['sources']} of {facts['width']}x{facts['height']}{notes}</td>"
        f"<td>{entry.seconds:.2f}</td></tr>"
    )
