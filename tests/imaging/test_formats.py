"""AVIF, HEIC, JPEG XL, JPEG 2000, PPM and GIF in, AVIF and JPEG XL out; XMP and IPTC."""

from __future__ import annotations

import base64
import io
import struct
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage import data

from defusion.errors import ImageError
from defusion.imaging import from_array, in_profile_of, read, stack_in, write
from defusion.imaging.colour_tags import Cicp, adobe_rgb, linear_profile, profile_of_cicp
from defusion.imaging.exif import Field, resolution, upright_block
from defusion.imaging.levels import used
from defusion.imaging.tone import Levels, is_linear

COLOUR = np.ascontiguousarray(data.astronaut()[40:140, 100:250])
DEEP = COLOUR.astype(np.uint16) * 257
TEN = (DEEP >> 6).astype(np.uint16)
ALPHA = np.full(COLOUR.shape[:2], 255, np.uint8)
ALPHA[:9] = 0
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6" dc:title="A title"/></x:xmpmeta>'


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif.update({0x0110: "Model 7", 0x112: 6})
    return exif


def near(found: np.ndarray, expected: np.ndarray, most: float) -> bool:
    return bool(np.abs(np.asarray(found).astype(float) - expected).mean() < most)


# ---------------------------------------------------------------------- in


def test_avif_of_eight_bits(tmp_path):
    image = Image.fromarray(np.dstack([COLOUR, ALPHA]))
    image.save(tmp_path / "a.avif", quality=98, icc_profile=SRGB, exif=turned_exif(), xmp=XMP)
    picture = read(tmp_path / "a.avif")
    assert (picture.depth, picture.icc, picture.turned) == ("uint8", SRGB, 6)
    assert near(picture.samples[:, :-9], np.rot90(COLOUR, -1)[:, :-9], 3)
    assert not picture.confidence(slice(None), slice(-8, None)).any()
    assert b"Model 7" in picture.exif and b"A title" in picture.xmp


@pytest.mark.parametrize("samples", [TEN, TEN[..., 1]], ids=["colour", "grey"])
def test_avif_of_ten_bits(tmp_path, samples):
    (tmp_path / "a.avif").write_bytes(
        imagecodecs.avif_encode(np.ascontiguousarray(samples), level=100, bitspersample=10, primaries=9, transfer=16)
    )
    picture = read(tmp_path / "a.avif")
    assert (picture.depth, picture.levels) == ("uint16", Levels(0, 1023))
    assert near(picture.samples[..., :3], samples.reshape(100, 150, -1), 2)
    assert picture.icc == (profile_of_cicp(Cicp(9, 16)) if samples.ndim == 3 else None)


@pytest.mark.parametrize("name", ["a.avif", "b.avif", "a.jp2"])
def test_alpha_of_few_bits_is_whole(tmp_path, name):
    bits = 10 if name == "a.avif" else 12
    samples = np.dstack([TEN, np.where(ALPHA, 1023, 0).astype(np.uint16)]) << (bits - 10)
    samples[9:, :, 3] = 2**bits - 1
    if name == "a.jp2":
        content = imagecodecs.jpeg2k_encode(samples, level=0, codecformat="jp2", bitspersample=bits)
    else:
        content = imagecodecs.avif_encode(samples, level=100, bitspersample=bits)
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name).confidence(slice(20, 40), slice(0, 9)).min() == 1
    assert read(tmp_path / name).confidence(slice(0, 8), slice(0, 9)).max() == 0


#: Red to blue from left to right, and green from top to bottom, of 64x48 pixels; written by pillow-heif.
HEIC = {
    8: (
        "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
        "bG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAJwAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
        "AAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEA"
        "AQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAA"
        "FGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABhp"
        "cG1hAAAAAAAAAAEAAQWBAgMFhAAAAKRtZGF0AAAAmCgBrwngPg6bnk23JU9rf2N1ADX+1kAB/DujopvG96ilMEV8zOhvP4M4431BlB8t"
        "hYStwt5cOOK7kuRid/qj282gFn/Sfgz+gCUvti9Bmqjkld2lEedDLW3v6z37cDC7JWLnIlKufNKTXmy1MrkLhLA1uwXKW242e668asAs"
        "TJwpoZ4/Oh2W58ebsx6xg4r6inMOR+tVvo5M"
    ),
    10: (
        "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJp"
        "bG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAJQAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAAB"
        "AAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQQIAAAAnbgAAAAAHvAA/P36+gAADwNgAAEAF0ABDAH//wQIAAADAJ24AAADAAAeugJAYQAB"
        "ACpCAQEECAAAAwCduAAAAwAAHqAggQTZbq5Ka5uAhoMCAAADADIAAAMAAhBiAAEABkQBwXPAiQAAABNjb2xybmNseAABAA0ABoAAAAAU"
        "aXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAQAAAAAEAAAAwAAAAAQAAAAAAAAAC////8AAAAAIAAAAQcGl4aQAAAAADCgoKAAAAGGlw"
        "bWEAAAAAAAAAAQABBYECAwWEAAAAnG1kYXQAAACQKAGvCeA+DpueThB0sMYtPsF+gHOdrIPT2fdHRTeN71FKYIr5mdDefwZxuRfqGtw5"
        "Aq+HMBZKFJyoNju2/qj282gFn/SfgjGw6FllWM0wDIcx2DyuvTxA2J0DVkoStkrNM5Esg0unYOXVmSSkwz0nhnvLpXKdocf0PffBAOaG"
        "r4Oxt8dz7bfZm4s3e+Nx+wHw"
    ),
}


@pytest.mark.parametrize("bits", HEIC)
def test_heic(tmp_path, bits):
    pytest.importorskip("pi_heif", reason='HEIC is an extra: pip install "defusion[heic]"')
    (tmp_path / "a.heic").write_bytes(base64.b64decode(HEIC[bits]))
    picture = read(tmp_path / "a.heic")
    down, across = np.mgrid[:48, :64] / np.array([47, 63])[:, None, None]
    assert picture.depth == ("uint8" if bits == 8 else "uint16")
    assert near(picture.pixels, np.stack([across, down, 1 - across], 2), 0.03)


def test_heic_without_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pi_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ImageError, match=r'pi-heif reads: pip install "defusion\[heic\]"'):
        read(tmp_path / "a.heic")


@pytest.mark.parametrize("samples", [COLOUR, DEEP, COLOUR[..., 1], (DEEP / 65535).astype(np.float32)])
def test_jpeg_xl(tmp_path, samples):
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(np.ascontiguousarray(samples), lossless=True))
    picture = read(tmp_path / "a.jxl")
    assert picture.depth == samples.dtype.name
    np.testing.assert_array_equal(picture.samples, samples.reshape(100, 150, -1))
    assert picture.notes == ()
    assert is_linear(picture.icc) == (samples.dtype != np.uint8)  # as imagecodecs says of deep samples


def test_the_exif_of_a_jpeg_xl(tmp_path):
    block = bytes(4) + b"II*\0\x08\0\0\0" + struct.pack("<HHHI4sI", 1, 0x0112, 3, 1, b"\6\0\0\0", 0)
    content = imagecodecs.jpegxl_encode(COLOUR, lossless=True, usecontainer=True)
    with io.BytesIO() as made:
        made.write(content[:12] + content[12:32])  # signature and file type
        made.write(struct.pack(">I4s", 8 + len(block), b"Exif") + block + content[32:])
        (tmp_path / "a.jxl").write_bytes(made.getvalue())
    picture = read(tmp_path / "a.jxl")
    np.testing.assert_array_equal(picture.samples, COLOUR)  # what the EXIF says of turning is the decoder's to do


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_jpeg_2000(tmp_path, bits):
    samples = {8: COLOUR, 10: TEN, 16: DEEP}[bits]
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(samples, level=0, bitspersample=bits))
    picture = read(tmp_path / "a.jp2")
    np.testing.assert_array_equal(picture.samples, samples)
    assert picture.levels == (Levels(0, 1023) if bits == 10 else None)
    assert near(picture.pixels * 255, COLOUR, 1)


def test_the_exif_and_xmp_of_a_jpeg_2000_are_kept(tmp_path):
    def box(name, content):
        return struct.pack(">I4s", 24 + len(content), b"uuid") + name + content

    made = imagecodecs.jpeg2k_encode(COLOUR, level=0, codecformat="jp2")
    boxes = box(bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), XMP)
    boxes += box(b"JpgTiffExif->JP2", turned_exif().tobytes().removeprefix(b"Exif\0\0"))
    at = made.index(b"jp2c") - 4
    (tmp_path / "a.jp2").write_bytes(made[:at] + boxes + made[at:])
    picture = read(tmp_path / "a.jp2")
    assert b"Model 7" in picture.exif and b"A title" in picture.xmp
    np.testing.assert_array_equal(picture.samples, np.rot90(COLOUR, -1))


def test_the_resolution_of_jpeg_2000_is_read(tmp_path):
    made = imagecodecs.jpeg2k_encode(COLOUR, level=0, codecformat="jp2")
    at = made.index(b"jp2h") - 4
    (size,) = struct.unpack_from(">I", made, at)
    dots = struct.pack(">I4s4H2b", 18, b"resc", 5000, 1, 100, 1, 0, 2)  # 5,000 a metre down, and 10,000 across
    box = struct.pack(">I4s", 8 + len(dots), b"res ") + dots
    head = struct.pack(">I", size + len(box)) + made[at + 4 : at + size] + box
    (tmp_path / "a.jp2").write_bytes(made[:at] + head + made[at + size :])
    assert resolution(read(tmp_path / "a.jp2").exif) == (254, 127)


def test_the_profile_of_a_jpeg_2000_is_kept(tmp_path):
    content = imagecodecs.jpeg2k_encode(COLOUR, level=0, codecformat="jp2")
    assert content[36:40] == b"jp2h" and content[66:70] == b"colr"
    icc = linear_profile()
    head = content[40:62] + struct.pack(">I4s3B", 11 + len(icc), b"colr", 2, 0, 0) + icc
    boxes = struct.pack(">I4s", 8 + len(head), b"jp2h") + head
    (tmp_path / "a.jp2").write_bytes(content[:32] + boxes + content[77:])
    (tmp_path / "b.jp2").write_bytes(content)
    (tmp_path / "c.j2k").write_bytes(imagecodecs.jpeg2k_encode(COLOUR, level=0, codecformat="j2k"))
    a, b, c = (read(tmp_path / name) for name in ("a.jp2", "b.jp2", "c.j2k"))
    np.testing.assert_array_equal(a.samples, COLOUR)
    assert (a.icc, a.notes, b.icc, b.notes, c.icc) == (icc, (), None, (), None)
    assert c.notes == ("c.j2k: no profile states its colours, so they count as sRGB",)


@pytest.mark.parametrize("most", [1, 100, 255, 4095, 65535])
@pytest.mark.parametrize("magic", ["P2", "P3", "P5", "P6"])
def test_ppm_and_pgm(tmp_path, magic, most):
    samples = np.rint(DEEP / 65535 * most).astype(int)
    samples = samples if magic in ("P3", "P6") else samples[..., 1]
    header = f"{magic}\n# a remark\n150 100\n{most}\n".encode()
    if magic in ("P5", "P6"):
        body = samples.astype("u1" if most < 256 else ">u2").tobytes()
    else:
        body = " ".join(map(str, samples.ravel())).encode()
    (tmp_path / "a.ppm").write_bytes(header + body)
    picture = read(tmp_path / "a.ppm")
    np.testing.assert_array_equal(picture.samples, samples.reshape(100, 150, -1))
    assert picture.pixels.max() == pytest.approx(samples.max() / most)
    (tmp_path / "a.ppm").write_bytes(header + body[: len(body) // 2])
    with pytest.raises(ImageError, match=r"a\.ppm is truncated or damaged"):
        read(tmp_path / "a.ppm")


def test_a_pgm_of_counts_has_the_range_of_them(tmp_path):
    counts = DEEP[..., 1] // 128 + np.uint16(7800)
    (tmp_path / "a.pgm").write_bytes(b"P5\n150 100\n%d\n" % counts.max() + counts.astype(">u2").tobytes())
    assert used(read(tmp_path / "a.pgm")).levels[:2] == pytest.approx((counts.min(), counts.max()), abs=9)


def test_gif(tmp_path):
    image = Image.fromarray(COLOUR).quantize(64)
    image.save(tmp_path / "a.gif")
    np.testing.assert_array_equal(read(tmp_path / "a.gif").samples, np.asarray(image.convert("RGB")))


# ---------------------------------------------------------------------- out


@pytest.mark.parametrize("samples", [COLOUR, COLOUR[..., 1], DEEP])
def test_avif_out(tmp_path, samples):
    notes = write(tmp_path / "a.avif", replace(from_array(samples), icc=SRGB if samples.ndim == 3 else None, xmp=XMP))
    deep = samples.dtype == np.uint16
    assert notes == (("a.avif: AVIF holds 12 bits, 16-bit result rounded to 12",) if deep else ())
    again = read(tmp_path / "a.avif")
    assert (again.depth, again.levels) == (samples.dtype.name, Levels(0, 4095) if deep else None)
    assert near(again.pixels * 255, COLOUR if samples.ndim == 3 else COLOUR[..., 1:2], 3)
    assert again.icc == (SRGB if samples.ndim == 3 else None) and b"A title" in again.xmp


@pytest.mark.parametrize("icc", [None, SRGB, profile_of_cicp(Cicp(9, 16))], ids=["none", "sRGB", "PQ"])
def test_avif_of_twelve_bits_has_all_that_travels(tmp_path, icc):
    smooth = np.stack(np.broadcast_arrays(*np.ogrid[:100, :150], 40), 2).astype(np.uint16) * 400
    picture = replace(from_array(smooth), icc=icc, exif=upright_block({0x0110: Field(2, 8, b"Model 7\0")}), xmp=XMP)
    write(tmp_path / "a.avif", picture)
    again = read(tmp_path / "a.avif")
    assert again.icc == icc and b"Model 7" in again.exif and b"A title" in again.xmp
    assert np.abs(again.pixels - picture.pixels).mean() < 1 / 2000
    with Image.open(tmp_path / "a.avif") as of_pillow:
        assert near(np.asarray(of_pillow), smooth / 257, 1)
        assert of_pillow.info.get("icc_profile") == icc and b"Model 7" in of_pillow.info["exif"]


def test_ten_bits_fill_the_range_of_an_avif(tmp_path):
    picture = replace(from_array(TEN), levels=Levels(0, 1023))
    write(tmp_path / "a.avif", picture)
    assert near(read(tmp_path / "a.avif").pixels * 255, picture.pixels * 255, 3)


@pytest.mark.parametrize("samples", [COLOUR, COLOUR[..., 1], DEEP, (DEEP / 65535).astype(np.float32)])
def test_jpeg_xl_out(tmp_path, samples):
    assert write(tmp_path / "a.jxl", from_array(samples)) == ()
    again = read(tmp_path / "a.jxl")
    assert (again.depth, again.icc, again.notes) == (samples.dtype.name, None, ())
    np.testing.assert_array_equal(again.samples, samples.reshape(100, 150, -1))


@pytest.mark.parametrize("name", ["p3", "pq", "linear", "adobe", "grey", "gamma"])
def test_the_colours_of_a_jpeg_xl_are_kept(tmp_path, name):
    grey = name in ("grey", "gamma")
    icc = {
        "p3": profile_of_cicp(Cicp(12, 13)),
        "pq": profile_of_cicp(Cicp(9, 16)),
        "linear": linear_profile(),
        "adobe": adobe_rgb(),
        "grey": linear_profile(grey=True),
        "gamma": imagecodecs.cms_profile("gray", whitepoint=(0.3127, 0.329, 1), gamma=1.8),
    }[name]
    picture = replace(from_array(DEEP[..., 1] if grey else DEEP), icc=icc)
    assert write(tmp_path / "a.jxl", picture) == ()
    again = read(tmp_path / "a.jxl")
    np.testing.assert_array_equal(again.samples, picture.samples)
    assert in_profile_of(again, picture) is again
    assert again.icc == icc or name not in ("p3", "pq")


def test_a_profile_that_a_jpeg_xl_cannot_name_is_converted_to_srgb(tmp_path):
    odd = imagecodecs.cms_profile(
        "rgb",
        whitepoint=(0.3127, 0.329, 1),
        primaries=(0.64, 0.33, 1, 0.3, 0.6, 1, 0.15, 0.06, 1),
        transferfunction=np.repeat(np.clip(np.linspace(-0.2, 1, 99, dtype=np.float32)[None], 0, 1), 3, 0),
    )
    picture = replace(from_array(DEEP), icc=odd)
    assert "converted to sRGB" in write(tmp_path / "a.jxl", picture)[0]
    expected = in_profile_of(picture, from_array(DEEP))
    np.testing.assert_array_equal(read(tmp_path / "a.jxl").samples, np.asarray(expected.samples))


def test_the_exif_and_xmp_of_a_jpeg_xl_are_kept(tmp_path):
    picture = replace(from_array(COLOUR), exif=upright_block({0x0110: Field(2, 8, b"Model 7\0")}), xmp=XMP)
    assert write(tmp_path / "a.jxl", picture) == ()
    again = read(tmp_path / "a.jxl")
    assert b"Model 7" in again.exif and b"A title" in again.xmp


def test_the_frames_of_a_jpeg_xl_are_pages(tmp_path):
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(np.stack([COLOUR, COLOUR[::-1]]), lossless=True))
    assert stack_in(tmp_path / "a.jxl").pages == 2
    np.testing.assert_array_equal(read(tmp_path / "a.jxl", 1).samples, COLOUR[::-1])
    assert read(tmp_path / "a.jxl").notes == ("a.jxl: first frame of an animation used",)


# ---------------------------------------------------------------------- XMP and IPTC


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".jxl"])
def test_xmp_is_kept_and_upright(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", replace(from_array(COLOUR), xmp=XMP.replace(b'"6"', b'"1"')))
    again = read(tmp_path / f"a{suffix}")
    assert b"A title" in again.xmp and b'tiff:Orientation="1"' in again.xmp
    assert again.notes == ()


def test_xmp_of_a_turned_picture_says_upright(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=turned_exif(), xmp=XMP)
    assert b'tiff:Orientation="1" dc:title="A title"' in read(tmp_path / "a.jpg").xmp


def test_xmp_that_cannot_be_kept_is_told(tmp_path):
    pytest.importorskip("OpenEXR")
    notes = write(tmp_path / "a.exr", replace(from_array(DEEP), xmp=XMP))
    assert any(note.startswith("a.exr: XMP dropped") for note in notes)


def test_iptc_is_told(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", COLOUR, photometric="rgb", extratags=[(33723, 7, 8, b"\x1c\x02\x05\0\0\0\0\0", True)]
    )
    assert read(tmp_path / "a.tif").notes == ("a.tif: IPTC is not kept",)
    plain = io.BytesIO()
    Image.fromarray(COLOUR).save(plain, "JPEG")
    content = plain.getvalue()
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x05\x1c\x02\x05\0\0\0"
    marker = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
    (tmp_path / "a.jpg").write_bytes(content[:2] + marker + content[2:])
    assert read(tmp_path / "a.jpg").notes == ("a.jpg: IPTC is not kept",)
