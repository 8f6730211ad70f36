"""Uploads: writes the pictures of a multipart body to disk as they come, within the limits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from defusion.serve.problem import Problem, bad_request, too_large
from defusion.serve.store import PictureStore, StoredPicture, file_name

FIELD = "sources"

#: How much longer to read from a client that sends too much. Otherwise it would be cut off before it reads the
#: answer.
_DRAINED_BYTES = 2**26


async def receive(request: Request, store: PictureStore) -> list[StoredPicture]:
    """Stores the pictures of a multipart body. After an error none of them is kept.

    Args:
        request: Its body has a part named `sources` for each picture.
        store: Where to put them.

    Returns:
        The pictures, in order.

    Raises:
        Problem: There are too many bytes or pictures, other parts, or the body is not multipart.
        ClientDisconnect: The client disconnected before the end.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    boundary = parameters.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not re.fullmatch(rb"[ -~]{1,70}", boundary):
        raise Problem(
            415, "no-multipart", f"expected a multipart/form-data body with a part {FIELD!r} for each picture"
        )
    limit = store.limits.upload_bytes
    parts = _Parts(store)
    parser = MultipartParser(boundary, parts.callbacks())
    received = 0
    try:
        if int(request.headers.get("content-length", "0")) > limit:
            raise _too_many(limit)
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise _too_many(limit)
            parser.write(chunk)
        parser.finalize()
        if not parts.complete:
            raise bad_request("the multipart body ends before its last part; send it again")
        if not parts.count:
            raise bad_request(f"no picture came; expected a part {FIELD!r} for each")
    except BaseException as error:
        parts.discard()
        if isinstance(error, MultipartParseError | UnicodeDecodeError):
            raise bad_request("the multipart body is damaged; send it again") from error
        if isinstance(error, OSError):
            raise Problem(
                507, "disk-full", "the service has no disk space for the pictures; try again later"
            ) from error
        if isinstance(error, Problem):
            await _drain(request)
        raise
    return parts.pictures


class _Parts:
    """Callbacks of a multipart parser. They write each part to a file of its own."""

    def __init__(self, store: PictureStore) -> None:
        self._store = store
        self._files: list[Path] = []
        self._open: BinaryIO | None = None
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self.complete = False

    @property
    def count(self) -> int:
        """Number of pictures that have come."""
        return len(self._files)

    @property
    def pictures(self) -> list[StoredPicture]:
        """Adds the files to the store."""
        return [self._store.add(file) for file in self._files]

    def callbacks(self) -> Any:
        """Returns the callbacks by the parser's names."""
        return {
            "on_part_begin": self._headers.clear,
            "on_header_begin": self._begin_header,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_file,
            "on_part_data": self._write,
            "on_part_end": self._end_file,
            "on_end": self._end,
        }

    def discard(self) -> None:
        """Deletes what has come."""
        self._end_file()
        for file in self._files:
            self._store.remove(StoredPicture(file.parent.parent.name, file))

    def _begin_header(self) -> None:
        self._name = self._value = b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value

    def _begin_file(self) -> None:
        _, facts = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = facts.get(b"name", b"").decode(errors="replace")
        if name != FIELD:
            raise bad_request(f"a part is named {name[:40]!a}; expected {FIELD!r} for each picture")
        number = len(self._files) + 1
        if number > self._store.limits.frames:
            raise too_large(f"more than {self._store.limits.frames} pictures came; send fewer")
        given = facts.get(b"filename", b"").decode(errors="replace")
        file = self._store.new_folder() / file_name(given, number)
        self._files.append(file)
        self._open = file.open("xb")

    def _write(self, data: bytes, start: int, end: int) -> None:
        assert self._open is not None
        self._open.write(data[start:end])

    def _end_file(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _end(self) -> None:
        self.complete = True


async def _drain(request: Request) -> None:
    """Reads on and drops what it reads."""
    drained = 0
    try:
        async for chunk in request.stream():
            drained += len(chunk)
            if drained > _DRAINED_BYTES:
                return
    except (ClientDisconnect, RuntimeError):  # RuntimeError if the body was already read to its end
        return


def _too_many(limit: int) -> Problem:
    return too_large(f"more than {limit // 10**6} MB came in one request; send smaller or fewer pictures")
