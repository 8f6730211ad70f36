"""Published tables: as printed, in the right columns, and where a measured method stands among them."""

from __future__ import annotations

import numpy as np
import pytest

from defusion.errors import EvaluationError
from defusion.evaluation.metrics import METRICS
from defusion.evaluation.published import QUOTABLE, PublishedTable, published, standing

#: What the paper prints underlined, as the third best of a column. Its table 2 underlines MFFGAN's PSNR on the set of
#: Zhang, which is not the third, and its table for Real-MFF underlines nothing.
THIRDS = {
    ("mefb", "CE"): "U2Fusion",
    ("mefb", "QCV"): "DeFusion",
    ("mefb", "SSIM"): "IFCNN",
    ("mefb", "MEF-SSIM"): "IFCNN",
    ("mefb", "IS"): "DeFusion",
    ("sice", "CE"): "IFCNN",
    ("sice", "QCV"): "U2Fusion",
    ("sice", "SSIM"): "DeepFuse",
    ("sice", "MEF-SSIM"): "DeFusion",
    ("sice", "IS"): "U2Fusion",
    ("sice", "LPIPS"): "DeFusion",
    ("mfifb", "SSIM"): "MFFGAN",
    ("tno", "CE"): "IFCNN",
    ("tno", "QCV"): "PMGI",
    ("tno", "SSIM"): "IFCNN",
    ("tno", "CC"): "PMGI",
    ("roadscene", "CE"): "IFCNN",
    ("roadscene", "QCV"): "U2Fusion",
    ("roadscene", "SSIM"): "IFCNN",
    ("roadscene", "CC"): "IFCNN",
}


def of(key: str, data_set: str) -> PublishedTable:
    return next(table for table in published([key]) if table.data_set == data_set)


@pytest.mark.parametrize(("data_set", "column"), THIRDS)
def test_the_third_of_each_column_is_the_one_that_the_paper_underlines(data_set, column):
    table = of("paper", data_set)
    index = [each.name for each in table.columns].index(column)
    assert list(table.rows)[table.ranks()[:, index].tolist().index(3)] == THIRDS[data_set, column]


def test_sizes_of_the_tables():
    sizes = {(table.key, table.data_set): (len(table.rows), len(table.columns)) for table in published(QUOTABLE)}
    assert sizes == {
        ("paper", "mefb"): (7, 6),
        ("paper", "sice"): (7, 6),
        ("paper", "mfifb"): (5, 2),
        ("paper", "realmff"): (5, 4),
        ("paper", "tno"): (5, 4),
        ("paper", "roadscene"): (5, 4),
        ("mefb", "mefb"): (21, 20),
        ("vifb", "vifb"): (25, 13),
    }


def test_the_toolkits_tables_are_those_that_their_authors_published(shared):
    for key in ("mefb", "vifb"):
        lines = (shared / "reference" / "published" / f"{key}_all.csv").read_text().splitlines()
        [table] = published([key])
        assert [column.name for column in table.columns] == lines[0].split(",")[1:]
        assert {method: list(map(float, rest)) for method, *rest in (line.split(",") for line in lines[1:])} == {
            method: list(figures) for method, figures in table.rows.items()
        }


def test_the_papers_qcv_is_mefbs_and_its_cross_entropy_is_not():
    paper, mefb = of("paper", "mefb"), of("mefb", "mefb")
    for method in ("MEFNet", "PMGI", "U2Fusion"):
        assert abs(paper.figures("qcv")[method] - mefb.figures("qcv")[method]) < 0.06
        assert abs(paper.figures("ce")[method] - mefb.figures("ce")[method]) > 1
    assert "another definition" in (paper.doubt("ce") or "") and paper.doubt("qcv") is None


def test_figures_come_in_terms_of_our_metrics():
    vifb = of("vifb", "vifb")
    assert vifb.figures("VIFB.Ssim")["ADF"] == 1.4001 and vifb.figures("ssim")["ADF"] == 1.4001 / 2
    assert vifb.figures("sf") == {} and vifb.figures("VIFB.Spatial_frequency")["ADF"] == 14.132
    assert of("mefb", "mefb").figures("sf")["DEM"] == 19.095


def test_every_metric_that_a_column_is_mapped_to_goes_its_way():
    for table in published(QUOTABLE):
        for column in table.columns:
            found = [METRICS[name].better for name in column.metrics if name in METRICS]
            assert set(found) <= {column.better}, column.name


def test_data_sets_are_known_however_they_are_spelt():
    table = of("paper", "realmff")
    assert table.concerns("Real-MFF") and table.concerns("real_mff") and not table.concerns("mfifb")


def test_a_published_row_stands_beside_itself():
    table = of("mefb", "mefb")
    names = {column.name: next(iter(column.metrics)) for column in table.columns}
    means = {names[column.name]: table.rows["PMGI"][index] for index, column in enumerate(table.columns)}
    found = standing(table, means)
    assert found is not None and found.places == 22 and len(found.ranks) == 20
    # Equal to one of 21: it shares that one's place with it, half a place lower.
    own = table.ranks()[list(table.rows).index("PMGI")]
    np.testing.assert_allclose(list(found.ranks.values()), own + 0.5)
    assert found.mean_rank == pytest.approx(own.mean() + 0.5)


def test_standing_is_over_what_was_measured_and_is_comparable():
    found = standing(of("mefb", "mefb"), {"ce": 0.1, "qcv": 1e9, "psnr": 30.0, "mef_ssim": np.nan})
    assert found is not None and found.ranks == {"Cross_entropy": 1, "Qcv": 22} and found.mean_rank == 11.5
    assert standing(of("mefb", "mefb"), {"psnr": 30.0}) is None
    paper = standing(of("paper", "mefb"), {"ce": 0.1, "qcv": 300.0})
    assert paper is not None and list(paper.ranks) == ["QCV"]


def test_unknown_figures_are_refused():
    with pytest.raises(EvaluationError, match="'ssim'; expected some of paper, mefb, vifb"):
        published(["paper", "ssim"])
