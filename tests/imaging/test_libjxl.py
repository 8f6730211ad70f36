"""JPEG XL with a packed profile: 8x8 pixels of noise, written by libjxl with a curve that has no name."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from defusion.imaging import libjxl, read
from defusion.imaging.colour_tags import linear_profile
from defusion.imaging.profile import _differ

NOISE = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)

#: Without loss in colour and in grey; with loss, which libjxl decodes to linear light with the colours of sRGB.
PACKED = {
    "rgb": (
        "/wpBQAhfjQYGJMwHUKkxx/b5ZgEpdVlHCg8PXyTMEEfPYqBBTE1DkFnl0WxdKWQRhkCxmkgT9kzN9kwSpW2jSalU2rVYhSDw92I0AZB1"
        "tHVGgKdYR02N3eyjMxsBDHhfWFoBAAAAMCjqOrGRzUoeCg0UrU1lpbuZ6h7U6/m+Ddms49vA0VfYXNnUU1S6WQNrZ8sGmsqWlrLmEHus"
        "DIBMuzGKCrCKN//8M+/ym3gmkH4g+eeffUL5559+RDCHCwHqgm9A0Dh1mAOBJvlAPQSILUNQzAVyywE2JsuGgDdw3UH+JyefcXLyudTg"
        "UvLB2hcBU438B3Ds4hV6vKbBWDHyB45aHLr5TfY6DUGcstA+mEFcydyMP8R3gt8m98an5xbxTwD8DABHUWVbAGaAjHIFKXeQSROSiQba"
        "aEJdDggEAQBoBEsYk46FhSlGuIbWd6SNMIQuEEDAZCjdgBnxEyzCHF0S/fgOKdVTXTtH4Ba6Omv1hb3QwW3GqxZzAyWPfsU206YwwgvI"
        "hxBiVrsE1IkYvBu1OccqsO5aR6nYyaBkS1ljBjRjvKapqp1tOhAeG8hUKyRlSe+BFlNJi1OSAJVQdGtJjE3RIAcwfScgmgSg8a8EFkIb"
        "bnN0r95PaeNpDY8FXcIGpatmPDc/IWR2lsDLB2Tp6LQRnwEfHkLNOphzqY289D1JATnSiV/13/7gWs6hf3kDPygla7t574t2PvW8Z6KX"
        "Fyec/C+e2SCCfo6rTiOp+QZI/tWabC5LG81MXWnLXqAdMNoPh+RNybwlSw8emS+/DcRbB5PNwT7tHA=="
    ),
    "grey": (
        "/wpBQBgfiQIGJMwFYJJjKf9tTp3XVRQlWIXmVaCh1dgQwy6ZVRxhCNBzGFeHnoPEVtdiFYIAgKyjrTMCAJD6Xv6TAdZRs0c3fUymEcCA"
        "74Wl1fs9xaauE600eyobmg9QtDaVlZ5mqnvevLdHD6RZx3eAo6+wubKpp6j0sAHWzpYDNJUtLWXNIXMjCqi2MGkIuIH7DvK/OPnUxcnn"
        "VoNbyRdrfwQc9si/gHMXnzDjMw1qReUPnLU4tflLzroMQVyy0H6YQdzJPIx/xE+C/ybPxlfnEQEIBAEAaAFLGIsVUlx3N/d6BF0RRZYL"
        "q+lUp4s5yiRZFNAhQeNktbMwA7i1GOMFzdkR6ytM0J1yoWG7FbZgI3RWrY/1p9/kYifDMyc/l3BJ5jTS8EifLyaRLEu0qc27WR0="
    ),
    "xyb": (
        "/wpBQApfjQYGJMwHUKkxx/b5ZgEpdVlHCg8PXyTMEEfPYqBBTE1DkFnl0WxdKWQRhkCxmkgT9kzN9kwSpW2jSalU2rVYhSDw92I0AZB1"
        "tHVGgKdYR02N3eyjMxsBDHhfWFoBAAAAMCjqOrGRzUoeCg0UrU1lpbuZ6h7U6/m+Ddms49vA0VfYXNnUU1S6WQNrZ8sGmsqWlrLmEHus"
        "DIBMuzGKCrCKN//8M+/ym3gmkH4g+eeffUL5559+RDCHCwHqgm9A0Dh1mAOBJvlAPQSILUNQzAVyywE2JsuGgDdw3UH+JyefcXLyudTg"
        "UvLB2hcBU438B3Ds4hV6vKbBWDHyB45aHLr5TfY6DUGcstA+mEFcydyMP8R3gt8m98an5xbxTwD8DABHUWVbAGaAjHIFKXeQSROSiQba"
        "aEJdDgAlCABkAnc/yAEAUKEyyrjBy7meLz90WEzbuM7QVtsWljA22wuDhIRD2Lg4gZuzKyiGKlNUSIEsAEYbJLEUY2S8CxfKAVCNkKNd"
        "N/wjz2Yl0XzqDVEWv/7Df/9va21gPn12Os5GfOemdENBItD9v+jsdI63sWeneSU9pdd58j1djiRaut0Jbe1GmQBhGlqclZWPBOpgL+tR"
        "4TisBMBkAQ=="
    ),
}


def packed(folder: Path, name: str) -> Path:
    (folder / "a.jxl").write_bytes(base64.b64decode(PACKED[name]))
    return folder / "a.jxl"


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_profile_is_kept(tmp_path: Path, name: str) -> None:
    if libjxl._library() is None:
        pytest.skip("imagecodecs has libjxl built in here, so it cannot be asked")
    picture = read(packed(tmp_path, name))
    assert picture.notes == ()
    if name == "xyb":
        assert not _differ(picture.icc, linear_profile(), grey=False)
    else:
        assert _differ(picture.icc, linear_profile(grey=picture.grey), grey=picture.grey)
        np.testing.assert_array_equal(picture.samples, NOISE if name == "rgb" else NOISE[..., :1])


def test_colours_count_as_srgb_where_libjxl_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libjxl, "_library", lambda: None)
    picture = read(packed(tmp_path, "rgb"))
    assert picture.icc is None
    assert picture.notes == ("a.jxl: its profile is not read, its colours count as sRGB",)


@pytest.mark.parametrize("name", PACKED)
def test_what_is_cut_has_no_profile_or_a_whole_one(tmp_path: Path, name: str) -> None:
    content = base64.b64decode(PACKED[name])
    whole = libjxl.profile(content)
    assert {libjxl.profile(content[:end]) for end in range(0, len(content), 29)} <= {None, whole}
