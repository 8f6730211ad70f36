"""Counters of the service, in Prometheus' text format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Upper bounds of the histogram of job times, in seconds.
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self._requests: dict[_Labels, int] = defaultdict(int)
        self._jobs: dict[_Labels, int] = defaultdict(int)
        self._seconds: dict[str, list[float]] = {}

    def request(self, method: str, route: str, status: int) -> None:
        """Counts an answered request."""
        self._requests[("method", method), ("route", route), ("status", str(status))] += 1

    def job(self, work: str, outcome: str, seconds: float) -> None:
        """Counts a job that is over, and its time."""
        self._jobs[("work", work), ("outcome", outcome)] += 1
        # Counts for each bucket, the count above the last bucket, and the sum of all times.
        classes = self._seconds.setdefault(work, [0.0] * (len(_SECONDS) + 2))
        classes[sum(seconds > end for end in _SECONDS)] += 1
        classes[-1] += seconds

    def text(self, gauges: dict[str, tuple[str, float]], restarts: int) -> str:
        """Returns all figures as text.

        Args:
            gauges: Current values with their help texts, by name.
            restarts: Number of workers that had to be replaced.
        """
        lines = [
            *_family("requests_total", "counter", "Requests answered.", self._requests.items()),
            *_family("jobs_total", "counter", "Jobs that are over.", self._jobs.items()),
            *_family("worker_restarts_total", "counter", "Workers that were replaced.", [((), restarts)]),
        ]
        for name, (says, value) in gauges.items():
            lines += _family(name, "gauge", says, [((), value)])
        lines += _family("job_seconds", "histogram", "Time that jobs ran.", ())
        for work, classes in self._seconds.items():
            total = 0.0
            for end, number in zip((*map(str, _SECONDS), "+Inf"), classes, strict=False):
                total += number
                lines.append(_line("job_seconds_bucket", (("work", work), ("le", end)), total))
            lines.append(_line("job_seconds_sum", (("work", work),), classes[-1]))
            lines.append(_line("job_seconds_count", (("work", work),), total))
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, says: str, values: Iterable[tuple[_Labels, float]]) -> list[str]:
    head = [f"# HELP defusion_{name} {says}", f"# TYPE defusion_{name} {kind}"]
    return head + [_line(name, labels, value) for labels, value in values]


def _line(name: str, labels: _Labels, value: float) -> str:
    told = ",".join(f'{label}="{text}"' for label, text in labels)
    return f"defusion_{name}{{{told}}} {value:.12g}" if told else f"defusion_{name} {value:.12g}"
