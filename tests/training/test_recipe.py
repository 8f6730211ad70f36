"""Recipes: the paper's numbers, TOML files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from defusion.errors import TrainingError
from defusion.model import CONFIGS
from defusion.pretext import Pretext
from defusion.training import RECIPES, Recipe, load_recipe


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_papers_recipe_has_the_papers_numbers() -> None:
    paper = load_recipe("paper")
    assert (paper.epochs, paper.batch, paper.learning_rate, paper.crop_px) == (50, 8, 1e-3, 256)
    assert paper.pretext == Pretext()
    assert dict(paper.pretext.distortions) == {"noise": 1.0}


def test_the_papers_rate_is_halved_each_ten_epochs() -> None:
    paper = RECIPES["paper"]
    rates = [paper.learning_rate_at(epoch * 100, 5000, 100) for epoch in (0, 9, 10, 19, 20, 30, 40, 49)]
    assert rates == [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5, 6.25e-5]
    assert paper.learning_rate_at(999, 5000, 100) == 1e-3


def test_a_cooldown_rises_stays_and_falls_to_nothing() -> None:
    recipe = replace(RECIPES["quick"], learning_rate=1.0, warmup_steps=10, cooldown=0.5)
    rates = [recipe.learning_rate_at(step, 100, 7.0) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert rates[9:51] == pytest.approx([1.0] * 42)
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)
    assert recipe.learning_rate_at(100, 100, 7.0) == 0


@pytest.mark.parametrize("name", RECIPES)
def test_the_rate_is_above_zero_at_every_step(name: str) -> None:
    recipe = RECIPES[name]
    for steps in (1, 2, 7, 1000):
        assert min(recipe.learning_rate_at(step, steps, steps / recipe.epochs) for step in range(steps)) > 0


def test_absent_places_count_more_and_more_until_they_count_in_full() -> None:
    recipe = replace(RECIPES["quick"], fade_steps=100)
    weights = [recipe.absent_weight(step) for step in (0, 25, 50, 75, 100, 5000)]
    assert weights[0] == pytest.approx(0.05)
    assert weights == sorted(weights)
    assert weights[2] == pytest.approx(0.525)
    assert weights[4:] == [1, 1]


def test_absent_places_count_in_full_from_the_start_where_nothing_is_faded_in() -> None:
    assert replace(RECIPES["paper"], fade_steps=0).absent_weight(0) == 1


def test_absent_places_hardly_ever_count_in_the_authors_recipe() -> None:
    authors = RECIPES["authors"]
    weights = [authors.absent_weight(step) for step in range(0, 2 * authors.fade_steps, 50)]
    assert (weights[0], weights[-1]) == (0, 0.015)
    assert weights == sorted(weights)


def test_the_fused_picture_fades_in_late_in_the_authors_recipe_and_counts_at_once_in_the_others() -> None:
    authors = RECIPES["authors"]
    weights = [authors.fused_weight(step, 1000) for step in range(1000)]
    assert weights == sorted(weights)
    assert (weights[500], weights[550], weights[600]) == pytest.approx((0, 0.5, 1))
    assert {RECIPES[name].fused_weight(0, 1000) for name in ("paper", "quick")} == {1}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"absent": (0.1,)}, "absent is"),
        ({"absent": (0.0, 1.5)}, "absent is"),
        ({"fused_from": 1.0}, "fused_from is 1.0"),
        ({"fused_from": -0.5}, "fused_from is -0.5"),
    ],
)
def test_shares_out_of_bounds_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        replace(Recipe(), **changes)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json_and_are_named_as_they_are_looked_up(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.network in ("pyramid", *CONFIGS)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_file_changes_what_it_names_and_keeps_the_rest_of_its_base(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", 'base = "quick"\nepochs = 3\ncrop_area = [0.2, 0.5]\n')
    assert load_recipe(path) == replace(RECIPES["quick"], name="mine", epochs=3, crop_area=(0.2, 0.5))


def test_a_file_without_a_base_starts_from_the_papers_recipe(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", 'network = "small"\n')
    assert load_recipe(path) == replace(RECIPES["paper"], name="mine", network="small")


def test_a_file_may_name_itself(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path / "mine.toml", 'name = "night shots"\n')).name == "night shots"


def test_a_file_that_changes_one_share_of_the_pretext_keeps_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", 'base = "quick"\n[pretext]\ngrey = 0.5\n')
    assert load_recipe(path).pretext == replace(RECIPES["quick"].pretext, grey=0.5)


def test_a_files_distortions_take_the_place_of_the_bases(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", 'base = "quick"\n[pretext.distortions]\nfog = 1.0\n')
    assert load_recipe(path).pretext == replace(RECIPES["quick"].pretext, distortions={"fog": 1.0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "not a TOML file"),
        ('base = "slow"', "base is 'slow'; expected pyramid, close, paper, authors, quick"),
        ('base = ["quick"]', r"base is \['quick'\]; expected pyramid"),
        ("epoch = 3", "has no epoch; it has name, network"),
        ('epochs = "many"', "of the wrong kind"),
        ("epochs = 0", "above zero"),
        ("batch = -2", "above zero"),
        ("learning_rate = 0.0", "above zero"),
        ("crop_px = 100", "crop_px is 100; expected a multiple of 8 from 32 up"),
        ("crop_px = 24", "crop_px is 24"),
        ('base = "pyramid"\ncrop_px = 64', "crop_px is 64; the pyramid network expects 72 or more"),
        ('base = "pyramid"\ncrop_px = 104', "can be halved for each of its levels"),
        ("crop_area = [0.5, 0.2]", "0 < low <= high <= 1"),
        ("crop_area = [0.0, 1.0]", "0 < low <= high <= 1"),
        ("crop_area = [0.5]", "0 < low <= high <= 1"),
        ("crop_area = 0.5", "of the wrong kind"),
        ('network = "huge"', "no network 'huge'; expected pyramid, released, deep, small"),
        ('schedule = "cosine"', "schedule 'cosine'"),
        ('base = "pyramid"\npart = "base"', "part 'base'; expected 'all', 'close' or 'rest'"),
        ('part = "close"', "only the pyramid network has"),
        ("pretext = 3", "of the wrong kind"),
        ("[pretext]\nfree = 1.0", "of the wrong kind"),
        ("[pretext]\ngrey = 2.0", r"a share in \[0, 1\]"),
        ("[pretext.distortions]\nhaze = 1.0", "unknown distortion haze"),
    ],
)
def test_a_file_that_holds_no_recipe_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=message):
        load_recipe(write(tmp_path / "mine.toml", text))


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match="not a TOML file"):
        load_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", ["fast", "recipes/none.toml", "."])
def test_an_unknown_name_is_refused_beside_those_that_exist(name: str) -> None:
    with pytest.raises(TrainingError, match="expected pyramid, close, paper, authors, quick or a TOML file"):
        load_recipe(name)


@pytest.mark.parametrize("field", [{"seed": 1}, {"fade_steps": 7}, {"clip_norm": None}, {"residual_scale": None}])
def test_every_field_is_in_the_written_recipe(field: dict[str, Any]) -> None:
    recipe = replace(RECIPES["quick"], **field)
    assert recipe.to_dict().items() >= field.items()
