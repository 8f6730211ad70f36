"""Asks libjxl for the profile of a JPEG XL, which imagecodecs unpacks but does not return."""

from __future__ import annotations

from ctypes import CDLL, POINTER, byref, c_char_p, c_int, c_size_t, c_void_p, create_string_buffer
from functools import cache
from typing import Any

#: Constants of libjxl: the event that the colours have been read, and the colours of the decoded samples.
_COLOURS, _OF_SAMPLES = 0x100, 1


def profile(data: bytes) -> bytes | None:
    """Returns the ICC profile of the samples that libjxl decodes; None if it cannot be asked or finds none.

    It can be asked where imagecodecs brings it as a library of its own, as on Linux and macOS.
    """
    library = _library()
    decoder = None if library is None else library.JxlDecoderCreate(None)
    if library is None or not decoder:
        return None
    try:
        library.JxlDecoderSubscribeEvents(decoder, _COLOURS)
        library.JxlDecoderSetInput(decoder, data, len(data))
        size = c_size_t()
        if library.JxlDecoderProcessInput(decoder) != _COLOURS:
            return None
        if library.JxlDecoderGetICCProfileSize(decoder, _OF_SAMPLES, byref(size)) or not size.value:
            return None
        made = create_string_buffer(size.value)
        failed = library.JxlDecoderGetColorAsICCProfile(decoder, _OF_SAMPLES, made, size)
        return None if failed else made.raw
    finally:
        library.JxlDecoderDestroy(decoder)


@cache
def _library() -> Any:
    """Loads libjxl, with the types of its functions that are used; None if it is not a library of its own."""
    from importlib.metadata import PackageNotFoundError, files

    import imagecodecs

    imagecodecs.jpegxl_version()  # loads the libraries that libjxl needs
    try:
        place = next(each for each in files("imagecodecs") or () if each.name.startswith(("libjxl-", "libjxl.")))
        library = CDLL(str(place.locate()))
        library.JxlDecoderCreate.argtypes, library.JxlDecoderCreate.restype = [c_void_p], c_void_p
        library.JxlDecoderDestroy.argtypes = [c_void_p]
        library.JxlDecoderSubscribeEvents.argtypes = [c_void_p, c_int]
        library.JxlDecoderSetInput.argtypes = [c_void_p, c_char_p, c_size_t]
        library.JxlDecoderProcessInput.argtypes = [c_void_p]
        library.JxlDecoderGetICCProfileSize.argtypes = [c_void_p, c_int, POINTER(c_size_t)]
        library.JxlDecoderGetColorAsICCProfile.argtypes = [c_void_p, c_int, c_char_p, c_size_t]
    except (PackageNotFoundError, StopIteration, OSError, AttributeError):
        return None
    return library
