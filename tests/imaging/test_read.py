"""Files in, written by other libraries: samples, depth, orientation, profile, EXIF and what is refused."""

from __future__ import annotations

import io
import os
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import IFDRational
from skimage import data

from defusion.errors import ImageError
from defusion.imaging import from_array, from_pillow, read
from defusion.imaging.exif import Field, read_directory

COLOUR = data.astronaut()[40:140, 100:250]  # 100x150: a turned picture has another shape
GREY = data.camera()[40:140, 100:250]
DEEP = COLOUR.astype(np.uint16) * 257 + np.arange(150, dtype=np.uint16)[:, np.newaxis] % 200
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def camera_exif(**tags: object) -> Image.Exif:
    exif = Image.Exif()
    exif.update({0x010F: "Maker", 0x0110: "Model 7", 0x0132: "2026:01:02 03:04:05", 0x8298: "Someone"})
    shot = exif.get_ifd(0x8769)
    shot.update({0x829A: IFDRational(1, 125), 0x8827: 400, 0xA434: "50mm f/1.8", 0xA002: 150, 0xA003: 100})
    exif.get_ifd(0x8825)[0x0001] = "N"
    exif.update({int(tag[1:]): value for tag, value in tags.items()})
    return exif


def exif_of(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def as_float(samples: np.ndarray) -> np.ndarray:
    return from_array(samples).pixels


# ---------------------------------------------------------------------- samples and depth


@pytest.mark.parametrize("samples", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_eight_bits_without_loss(tmp_path, samples, suffix):
    Image.fromarray(samples).save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    picture = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, as_float(samples))
    assert (picture.depth, picture.grey, picture.notes) == (
        "uint8",
        samples.ndim == 2 and suffix != ".webp",
        (),
    )


@pytest.mark.parametrize("samples", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path, samples, progressive):
    Image.fromarray(samples).save(tmp_path / "a.jpg", progressive=progressive)
    picture = read(tmp_path / "a.jpg")
    np.testing.assert_array_equal(picture.pixels, as_float(np.asarray(Image.open(tmp_path / "a.jpg"))))
    assert (picture.depth, picture.grey) == ("uint8", samples.ndim == 2)


@pytest.mark.parametrize("samples", [DEEP, DEEP[..., 1]], ids=["colour", "grey"])
def test_sixteen_bit_png(tmp_path, samples):
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(samples)))
    picture = read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, as_float(samples))
    assert (picture.depth, picture.grey) == ("uint16", samples.ndim == 2)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("samples", [COLOUR, DEEP, as_float(DEEP), GREY, DEEP[..., 1], as_float(DEEP)[..., 1]])
def test_tiff(tmp_path, samples, byteorder, compression):
    colour = "minisblack" if samples.ndim == 2 else "rgb"
    tifffile.imwrite(tmp_path / "a.tif", samples, byteorder=byteorder, compression=compression, photometric=colour)
    picture = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, as_float(samples))
    assert (picture.depth, picture.grey, picture.notes) == (samples.dtype.name, samples.ndim == 2, ())


@pytest.mark.parametrize(
    "options", [{"predictor": True, "compression": "lzw"}, {"tile": (32, 32)}, {"bigtiff": True}]
)
def test_tiff_layouts(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb", **options)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, as_float(DEEP))


def test_tiff_in_separate_planes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(DEEP, 2, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels, as_float(DEEP))


@pytest.mark.parametrize("samples", [GREY, DEEP[..., 1], as_float(GREY)[..., 0]])
def test_tiff_where_white_is_zero(tmp_path, samples):
    inverted = 1 - samples if samples.dtype == np.float32 else ~samples
    tifffile.imwrite(tmp_path / "a.tif", inverted, photometric="miniswhite")
    np.testing.assert_allclose(read(tmp_path / "a.tif").pixels, as_float(samples), atol=1e-7)


@pytest.mark.parametrize("colour", ["rgb", "ycbcr"])
def test_jpeg_inside_tiff(tmp_path, colour):
    options = {"outcolorspace": colour}
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, photometric="rgb", compression="jpeg", compressionargs=options)
    assert np.abs(read(tmp_path / "a.tif").pixels - as_float(COLOUR)).mean() < 0.03


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_one_bit_becomes_grey(tmp_path, suffix):
    Image.fromarray(GREY > 100).save(tmp_path / f"a{suffix}")
    picture = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, as_float(GREY > 100))
    assert (picture.depth, picture.grey) == ("uint8", True)
    assert picture.notes == (f"a{suffix}: 1-bit picture read as 8-bit grey",)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palette_becomes_rgb(tmp_path, suffix):
    image = Image.fromarray(COLOUR).quantize(16)
    image.save(tmp_path / f"a{suffix}")
    picture = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, as_float(np.asarray(image.convert("RGB"))))
    assert (picture.grey, picture.notes) == (False, (f"a{suffix}: palette turned into RGB",))


def test_palette_transparency_is_alpha(tmp_path):
    image = Image.fromarray(COLOUR).quantize(16)
    image.save(tmp_path / "a.png", transparency=bytes(range(16)))
    picture = read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, as_float(np.asarray(image.convert("RGB"))))
    assert picture.notes == ("a.png: palette turned into RGB", "a.png: places of alpha 0 count for nothing")
    clear = np.asarray(image) == 0
    assert not picture.confidence(slice(None), slice(None))[clear].any()
    np.testing.assert_allclose(picture.confidence(slice(20, 30), slice(5)), np.asarray(image)[20:30, :5] / 255)


@pytest.mark.parametrize(
    ("suffix", "samples"),
    [
        (".webp", COLOUR),
        *((suffix, of) for suffix in (".png", ".tif") for of in (COLOUR, DEEP, GREY, DEEP[..., 1])),
    ],
)
@pytest.mark.parametrize("kind", ["opaque", "everywhere", "mask"])
def test_alpha_is_a_mask(tmp_path, suffix, samples, kind):
    full = np.iinfo(samples.dtype).max
    alpha = np.full(samples.shape[:2], full // 2 if kind == "everywhere" else full, samples.dtype)
    if kind == "mask":
        alpha[:9, 3:] = 0
        alpha[9] = full // 2
    both = np.ascontiguousarray(np.dstack([samples, alpha]))
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(
            path,
            both,
            photometric="minisblack" if samples.ndim == 2 else "rgb",
            planarconfig="contig",
            extrasamples=[2],
        )
    elif suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(both))
    else:
        Image.fromarray(both).save(path, lossless=True, exact=True)
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, as_float(samples))
    notes = {
        "opaque": (),
        "everywhere": (f"a{suffix}: alpha channel dropped",),
        "mask": (f"a{suffix}: places of alpha 0 count for nothing",),
    }
    assert picture.notes == notes[kind]
    confidence = picture.confidence(slice(2, 40, 2), slice(1, 50))
    if kind == "mask":
        np.testing.assert_array_equal(confidence, alpha[2:40:2, 1:50] / np.float32(full))
    else:
        assert confidence is None


def test_alpha_is_turned_with_the_picture(tmp_path):
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:9] = 0
    for mode, samples in (("RGBA", COLOUR), ("LA", GREY)):
        exif = Image.Exif()
        exif[0x112] = 6  # stored lying on its left side
        Image.fromarray(np.dstack([samples, alpha]), mode).save(tmp_path / "a.png", exif=exif)
        picture = read(tmp_path / "a.png")
        np.testing.assert_array_equal(picture.confidence(slice(None), slice(None)), np.rot90(alpha, -1) / 255)
        np.testing.assert_array_equal(picture.samples, np.rot90(samples.reshape(*alpha.shape, -1), -1))


@pytest.mark.parametrize("samples", [GREY, COLOUR, DEEP])
def test_a_transparent_colour_is_alpha(tmp_path, samples):
    clear = samples[0, 0]
    plain = imagecodecs.png_encode(samples)
    key = np.atleast_1d(clear).astype(">u2").tobytes()
    chunk = struct.pack(">I", len(key)) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
    (tmp_path / "a.png").write_bytes(plain[:33] + chunk + plain[33:])
    picture = read(tmp_path / "a.png")
    expected = (samples == clear).reshape(*samples.shape[:2], -1).all(2)
    np.testing.assert_array_equal(picture.confidence(slice(None), slice(None)) == 0, expected)
    np.testing.assert_array_equal(picture.samples, samples.reshape(*expected.shape, -1))


@pytest.mark.parametrize("kind", ["fourteen bits", "associated", "one of two", "the other of two"])
def test_the_alpha_of_a_tiff_is_found_and_whole(tmp_path, kind):
    alpha = np.full(GREY.shape, 65535, np.uint16)
    alpha[:9] = 0
    channels, extra = [DEEP, alpha], [2]
    if kind == "fourteen bits":
        channels = [DEEP >> 2, alpha >> 2]
    elif kind == "associated":
        channels, extra = [(DEEP >> 2) * (alpha > 0)[..., None], alpha >> 2], [1]
    else:
        spot = alpha[::-1] // 2
        channels, extra = ([DEEP, alpha, spot], [2, 0]) if kind == "one of two" else ([DEEP, spot, alpha], [0, 2])
    tifffile.imwrite(
        tmp_path / "a.tif", np.dstack(channels), photometric="rgb", extrasamples=extra, planarconfig="contig"
    )
    picture = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.confidence(slice(None), slice(None)), alpha > 0)
    np.testing.assert_array_equal(picture.samples[9:], channels[0][9:])


@pytest.mark.parametrize("mode", ["RGBa", "La", "PA", "RGBX", "YCbCr"])
def test_other_kinds_of_pil_images(mode):
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:9] = 0
    colours, both = Image.fromarray(COLOUR), Image.fromarray(np.dstack([COLOUR, alpha]))
    if mode == "La":
        image = Image.fromarray(np.dstack([GREY, alpha]), "LA").convert("La")
    else:
        image = (colours if mode in ("RGBX", "YCbCr") else both).convert(mode)
    picture = from_pillow(image, "a")
    assert picture.grey == (mode == "La")
    assert (picture.alpha is None) == (mode in ("RGBX", "YCbCr"))
    expected = GREY[..., np.newaxis] if mode == "La" else COLOUR
    assert np.abs(picture.samples[9:].astype(int) - expected[9:]).mean() < (16 if mode == "PA" else 2)


def test_colours_multiplied_by_alpha_are_divided_by_it(tmp_path):
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:9] = 128
    alpha[:5] = 0
    multiplied = np.rint(COLOUR * (alpha[..., None] / 255)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([multiplied, alpha]), photometric="rgb", extrasamples=[1])
    samples = read(tmp_path / "a.tif").samples
    assert np.abs(samples[5:].astype(int) - COLOUR[5:]).max() <= 1
    assert not samples[:5].any()


def test_a_thumbnail_that_does_not_say_so_is_passed_over(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page in (COLOUR[::8, ::8], COLOUR):
            tif.write(page, photometric="rgb", metadata=None)
    picture = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.samples, COLOUR)
    assert picture.notes == ("a.tif: page 2 of 2, of which the first is a thumbnail, used",)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_the_first_of_many_is_used(tmp_path, suffix):
    Image.fromarray(COLOUR).save(
        tmp_path / f"a{suffix}", save_all=True, append_images=[Image.fromarray(255 - COLOUR)], lossless=True
    )
    picture = read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, as_float(COLOUR))
    assert picture.notes == (f"a{suffix}: first of 2 {'pages' if suffix == '.tif' else 'frames'} used",)


def test_the_content_decides_not_the_suffix(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.tif", "PNG")
    np.testing.assert_array_equal(read(str(tmp_path / "a.tif")).pixels, as_float(COLOUR))


# ---------------------------------------------------------------------- CMYK


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_without_profile(tmp_path, suffix):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / f"a{suffix}", quality=95)
    picture = read(tmp_path / f"a{suffix}")
    assert np.abs(picture.pixels - as_float(COLOUR)).mean() < 0.02
    assert (picture.icc, picture.notes) == (None, (f"a{suffix}: CMYK turned into sRGB",))


def cmyk_profile() -> bytes:
    """A profile whose lookup tables are as small as lcms takes them: L = 100 - K, whatever the inks."""
    inks, outs, ramp = 4, 3, struct.pack(">2H", 0, 0xFFFF)
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    nodes = b"".join(struct.pack(">3H", 0 if node & 1 else 0xFF00, 0x8000, 0x8000) for node in range(2**inks))
    table = b"mft2" + bytes(4) + bytes([inks, outs, 2, 0]) + identity + struct.pack(">2H", 2, 2)
    table += ramp * inks + nodes + ramp * outs
    offset = 128 + 4 + 12
    header = struct.pack(">I4sI4s4s4s", offset + len(table), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D) + bytes(48)
    return header + struct.pack(">I4sII", 1, b"A2B0", offset, len(table)) + table


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_goes_through_its_own_profile(tmp_path, suffix):
    cmyk = Image.new("CMYK", (16, 16), (255, 255, 0, 0))  # blue by plain subtraction, white by this profile
    cmyk.save(tmp_path / f"a{suffix}", quality=100, icc_profile=cmyk_profile())
    picture = read(tmp_path / f"a{suffix}")
    assert picture.pixels.min() > 0.97
    assert picture.icc is None


def test_a_broken_cmyk_profile_is_passed_over(tmp_path):
    Image.new("CMYK", (16, 16), (255, 255, 0, 0)).save(tmp_path / "a.tif", icc_profile=b"no profile" * 20)
    assert read(tmp_path / "a.tif").pixels[0, 0].tolist() == [0, 0, 1]


# ---------------------------------------------------------------------- orientation and EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied_once(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    exif = camera_exif(_274=orientation)
    Image.fromarray(COLOUR).save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    stored = np.asarray(Image.open(path)) if suffix == ".jpg" else COLOUR
    upright = Image.fromarray(stored).transpose(TRANSPOSED[orientation]) if orientation > 1 else stored
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, as_float(np.asarray(upright)))
    assert exif_of(picture.exif)[274] == 1
    with Image.open(path) as image:
        np.testing.assert_array_equal(picture.pixels, as_float(np.asarray(ImageOps.exif_transpose(image))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_deep_files(tmp_path, orientation):
    block = camera_exif(_274=orientation).tobytes()[6:]
    encoded = imagecodecs.png_encode(DEEP)
    # EXIF behind the pixels, where some programs put it.
    (tmp_path / "a.png").write_bytes(encoded[:-12] + png_chunk(b"eXIf", block) + encoded[-12:])
    tifffile.imwrite(tmp_path / "a.tif", DEEP, extratags=[(274, 3, 1, orientation, True)])
    tifffile.imwrite(tmp_path / "b.tif", DEEP, bigtiff=True, extratags=[(274, 3, 1, orientation, True)])
    upright = np.swapaxes(DEEP, 0, 1) if orientation > 4 else DEEP
    upright = upright[::-1] if orientation in (3, 4, 7, 8) else upright
    upright = upright[:, ::-1] if orientation in (2, 3, 6, 7) else upright
    for name in ("a.png", "a.tif", "b.tif"):
        np.testing.assert_array_equal(read(tmp_path / name).pixels, as_float(upright))


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_profile_and_exif_are_read(tmp_path, suffix, endian):
    exif = camera_exif()
    exif.endian = endian
    Image.fromarray(COLOUR).save(tmp_path / f"a{suffix}", exif=exif.tobytes(), icc_profile=SRGB)
    picture = read(tmp_path / f"a{suffix}")
    assert picture.icc == SRGB
    came = exif_of(picture.exif)
    assert {tag: came[tag] for tag in (0x010F, 0x0110, 0x0132, 0x8298)} == {
        0x010F: "Maker",
        0x0110: "Model 7",
        0x0132: "2026:01:02 03:04:05",
        0x8298: "Someone",
    }
    shot = came.get_ifd(0x8769)
    assert (shot[0x829A], shot[0x8827], shot[0xA434]) == (0.008, 400, "50mm f/1.8")
    assert came.get_ifd(0x8825)[0x0001] == "N"


def test_exif_says_nothing_of_sizes_and_thumbnails(tmp_path):
    exif = camera_exif()
    exif.get_ifd(0x8769)[0x9000] = b"0232"
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=exif)
    came = exif_of(read(tmp_path / "a.jpg").exif)
    assert came.get_ifd(0x8769)[0x9000] == b"0232"
    assert not {0xA002, 0xA003} & set(came.get_ifd(0x8769))


def test_a_tiff_without_camera_tags_has_no_exif(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COLOUR, software="")  # its description is the shape, not for people
    assert read(tmp_path / "a.tif").exif is None


@pytest.mark.parametrize("samples", [COLOUR, DEEP])
@pytest.mark.parametrize("packed", [False, True])
def test_xmp_behind_the_pixels_of_a_png_is_read(tmp_path, samples, packed):
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    text = b"\1\0\0\0" + zlib.compress(packet) if packed else b"\0\0\0\0" + packet
    head = imagecodecs.png_encode(np.ascontiguousarray(samples))[:-12]
    for said, expected in ((text, packet), (b"", None), (b"\1\0\0\0nonsense", None)):
        chunk = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0" + said)
        (tmp_path / "a.png").write_bytes(head + chunk + png_chunk(b"IEND", b""))
        assert (read(tmp_path / "a.png").xmp or None) == expected


def test_exif_that_is_none_is_noted(tmp_path):
    (tmp_path / "a.png").write_bytes(
        imagecodecs.png_encode(DEEP)[:-12] + png_chunk(b"eXIf", b"nonsense") + png_chunk(b"IEND", b"")
    )
    picture = read(tmp_path / "a.png")
    assert picture.exif is None
    assert len(picture.notes) == 1 and "EXIF cannot be read" in picture.notes[0]


def test_a_field_that_claims_more_than_there_is_costs_only_itself():
    class Spied(io.BytesIO):
        def read(self, size=-1, /):
            assert 0 <= size < 2**16
            return super().read(size)

    block = b"II*\0\x08\0\0\0" + struct.pack("<HHHIIHHI4sI", 2, 0x010F, 4, 2**32 - 1, 26, 0x0110, 2, 3, b"ab\0\0", 0)
    assert read_directory(Spied(block)) == {0x0110: Field(2, 3, b"ab\0")}


def test_a_cut_field_costs_only_itself(tmp_path):
    block = camera_exif(_274=6).tobytes()
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=block[:-30])
    picture = read(tmp_path / "a.png")
    assert picture.pixels.shape == (150, 100, 3)
    assert exif_of(picture.exif)[0x010F] == "Maker"


# ---------------------------------------------------------------------- refusals


def damaged(tmp_path, name: str, content: bytes) -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    match kind.split():
        case ["tiff", compression, bits]:
            samples = {"8": COLOUR, "16": DEEP, "float": as_float(DEEP)}[bits]
            tifffile.imwrite(
                file, samples, photometric="rgb", compression=None if compression == "none" else compression
            )
        case ["png", "16"]:
            file.write(imagecodecs.png_encode(DEEP))
        case [name, *_]:
            Image.fromarray(COLOUR).save(file, name, progressive="progressive" in kind, lossless="lossless" in kind)
    return file.getvalue()


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95, 0.999])
@pytest.mark.parametrize(
    "kind",
    [
        *("png 8", "png 16", "jpeg", "jpeg progressive", "webp", "webp lossless"),
        *(f"tiff {how} {bits}" for how in ("none", "lzw", "zlib") for bits in ("8", "16", "float")),
        "tiff jpeg 8",
    ],
)
def test_truncated_files_are_refused(tmp_path, kind, kept, capfd):
    content = encoded(kind)
    path = damaged(tmp_path, "a.bin", content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=r"a\.bin is truncated or damaged"):
        read(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["png 8", "png 16", "jpeg", "webp", "tiff lzw 16", "tiff none 8"])
def test_one_missing_byte_is_noticed(tmp_path, kind):
    with pytest.raises(ImageError, match="truncated or damaged"):
        read(damaged(tmp_path, "a.bin", encoded(kind)[:-1]))


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png was not found"):
        read(tmp_path / "none.png")
    with pytest.raises(ImageError, match=r"^\S* is a folder"):
        read(tmp_path)
    with pytest.raises(ImageError, match=r"is empty \(0 bytes\)"):
        read(damaged(tmp_path, "a.png", b""))
    for content in (b"x", b"hello, world, this is text"):
        with pytest.raises(ImageError, match="not a picture of a known format"):
            read(damaged(tmp_path, "a.png", content))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permission bits do not bind this user")
def test_an_unreadable_file_is_named(tmp_path):
    path = damaged(tmp_path, "a.png", b"x")
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read(path)


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (COLOUR.astype(np.uint32) << 24, {"photometric": "rgb"}, "uint32"),
        (GREY.astype(np.complex64), {}, "complex64"),
        (np.dstack([DEEP, DEEP[..., 0]]), {"photometric": "separated"}, "uint16 samples of kind SEPARATED"),
        (COLOUR, {"photometric": "cielab"}, "CIELAB"),
        (GREY // 16, {"bitspersample": 4}, "4 bits"),
        (DEEP[..., 0] // 16, {"bitspersample": 12}, "12 bits"),
        (np.full((2, 3), np.nan, np.float32), {}, "6 NaN"),
    ],
)
def test_samples_that_cannot_be_fused_are_refused(tmp_path, samples, options, words):
    tifffile.imwrite(tmp_path / "a.tif", samples, **{"photometric": "minisblack", **options})
    with pytest.raises(ImageError, match=f"a.tif .*{words}"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint32"])
def test_whole_numbers_with_a_sign_are_read_as_floats(tmp_path, kind):
    samples = (GREY // 2).astype(kind) - np.asarray(20).astype(kind) * (kind != "uint32")
    tifffile.imwrite(tmp_path / "a.tif", samples)
    picture = read(tmp_path / "a.tif")
    assert picture.notes == (f"a.tif: {kind} samples read as floats",)
    np.testing.assert_array_equal(picture.samples[..., 0], samples.astype(np.float32))


def test_raw_ycbcr_in_tiff_is_refused(tmp_path):
    Image.fromarray(COLOUR).convert("YCbCr").save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="YCBCR"):
        read(tmp_path / "a.tif")


def test_large_pictures_pass_pillows_limit(tmp_path, monkeypatch):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read(tmp_path / "a.png").pixels.shape == (100, 150, 3)
    assert read(tmp_path / "a.jpg").pixels.shape == (100, 150, 3)


def test_a_header_cannot_claim_all_memory(tmp_path):
    size = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    content = encoded("png 8")
    content = content[:8] + png_chunk(b"IHDR", size) + content[33:]
    with pytest.raises(ImageError, match="says that it is 40000x40000 pixels, and is too short for that"):
        read(damaged(tmp_path, "a.png", content))


def test_libraries_stay_silent_about_odd_files(tmp_path, capfd):
    head = imagecodecs.png_encode(DEEP)
    odd = png_chunk(b"iCCP", b"odd\0\0" + zlib.compress(b"no profile"))
    read(damaged(tmp_path, "a.png", head[:33] + odd + head[33:]))
    tifffile.imwrite(
        tmp_path / "a.tif", GREY, extratags=[(65000, 2, 1, "?", True)], description="ImageJ=1.0\nimages=9"
    )
    read(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")
