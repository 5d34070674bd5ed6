"""The page of a benchmark says what its files say, needs nothing but itself, and runs no one else's script."""

import base64
import csv
import dataclasses
import io
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from PIL import Image

from nowcast.contracts import InputError
from nowcast.report.html import write_report
from nowcast.report.html.caveats import caveats
from nowcast.report.html.figures import default_names, figures
from nowcast.report.html.folder import Benchmark, Entry
from nowcast.report.html.frames import picture
from nowcast.report.html.leaderboard import leaderboard
from nowcast.report.html.wording import column
from nowcast.report.maps import rain_colours
from tests.report.benchmark_folder import BASELINE, COMMAND, CONFIG, ERROR, FAILED, NETWORK, THRESHOLDS


class Elements(HTMLParser):
    """The elements of a page in order, with their attributes and all text in them."""

    VOID = frozenset({"meta", "link", "input", "img", "br"})

    def __init__(self, page: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.all: list[dict] = []
        self.open: list[dict] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "attributes": dict(attrs), "text": "", "parents": [one["tag"] for one in self.open]}
        self.all.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()["tag"] == tag, "elements are closed in order"

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def named(self, tag: str) -> list[dict]:
        return [element for element in self.all if element["tag"] == tag]

    def json(self, name: str) -> object:
        (found,) = (one for one in self.named("script") if one["attributes"].get("id") == name)
        return json.loads(found["text"])


@pytest.fixture(scope="module")
def elements(page: Path) -> Elements:
    return Elements(page)


@pytest.fixture
def copy(benchmark_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(benchmark_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("report")))


def test_the_page_is_made_without_torch() -> None:
    script = "import sys, nowcast.report.html; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_page_refers_to_nothing_outside_itself(elements: Elements) -> None:
    links = [one["attributes"].get(name) or "#" for one in elements.all for name in ("src", "href", "srcset", "data")]
    assert {link[0] for link in links if not link.startswith("data:")} == {"#"}
    (policy,) = (one for one in elements.named("meta") if "http-equiv" in one["attributes"])
    assert policy["attributes"]["content"].startswith("default-src 'none';")
    assert "url(" not in elements.named("style")[0]["text"]


def test_names_configs_and_errors_make_no_elements(elements: Elements) -> None:
    kinds = [one["attributes"].get("type", "script") for one in elements.named("script")]
    assert kinds == ["application/json"] * 3 + ["script"] * 2
    assert not elements.named("img")
    assert not elements.named("b")
    assert not [one for one in elements.all if any(name.startswith("on") for name in one["attributes"])]
    assert not elements.open


def test_names_configs_and_commands_are_shown_as_they_are(elements: Elements) -> None:
    shown = [one["text"] for one in elements.named("pre")]
    assert COMMAND in shown
    assert CONFIG in shown
    assert any(ERROR in text for text in shown)
    assert {NETWORK, BASELINE, FAILED} <= {one["text"] for one in elements.named("a")}


def test_the_leaderboard_holds_the_numbers_of_the_csv_and_failed_entries_last(
    elements: Elements, benchmark_folder: Path
) -> None:
    with open(benchmark_folder / "leaderboard.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    heads = [one["attributes"].get("data-key", "entry") for one in elements.named("th") if "thead" in one["parents"]]
    values = [one["attributes"]["data-value"] for one in elements.all if "data-value" in one["attributes"]]
    rows = [dict(zip(heads, values[k : k + len(heads)], strict=True)) for k in range(0, len(values), len(heads))]
    assert [row["entry"] for row in rows] == [NETWORK, NETWORK, BASELINE, FAILED]
    lines.sort(key=lambda line: line["status"] == "failed")
    for row, line in zip(rows, lines, strict=True):
        for key in ("entry", "seed", "parameters", "latency_s", "mae_15", "csi_1_15", "frequency_bias_1_15"):
            assert row[key] == line[key]
    assert any(one["tag"] == "p" and one["text"] == f"failed: {ERROR}" for one in elements.all)


def test_the_best_of_each_score_is_marked(benchmark_folder: Path) -> None:
    table = leaderboard(Benchmark.read(benchmark_folder))
    for place, head in enumerate(table.columns):
        cells = [row.cells[place] for row in table.rows if row.error is None]
        best = {float(cell.value) for cell in cells if cell.best}
        key = {"mae_15": float, "csi_1_15": lambda v: -v, "frequency_bias_1_15": lambda v: abs(np.log(v))}.get(head.key)
        assert best == (set() if key is None else {min((float(cell.value) for cell in cells), key=key)})


def test_figures_draw_the_mean_over_seeds_of_the_scores(elements: Elements, benchmark_folder: Path) -> None:
    drawn = elements.json("figures-data")
    names = [entry["name"] for entry in drawn["entries"]]
    with (
        xr.open_dataset(benchmark_folder / "scores.nc") as scores,
        xr.open_dataset(benchmark_folder / "differences.nc") as apart,
    ):
        by_key = {score["key"]: score for score in drawn["sets"][0]["scores"]}
        assert {"mae", "csi", "pooled_csi@4", "fss@5", "crps", "effective_resolution"} <= set(by_key)
        assert not {"cases", "observed_events", "rank_count"} & set(by_key)
        order = "entry", "bound", "lead_time", "threshold"
        cases = {
            "csi": scores.csi,
            "pooled_csi@4": scores.pooled_csi.sel(neighbourhood=4),
            "fss@5": scores.fss.sel(scale=5),
        }
        for key, expected in cases.items():
            wanted = expected.mean("seed").sel(entry=names).transpose(*order).values
            np.testing.assert_allclose(np.array(by_key[key]["values"], dtype=float), wanted, rtol=1e-4)
        wanted = apart.csi.mean("seed").sel(entry=NETWORK).transpose(*order[1:]).values
        found = np.array(by_key["csi"]["differences"][names.index(NETWORK)], dtype=float)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert [(one["label"], one["leads"]) for one in drawn["sets"]] == [
        ("rain rate", [5, 10, 15]),
        ("1-hour sums", [60]),
    ]
    assert drawn["reference"] == BASELINE
    assert by_key["csi"]["differences"][names.index(BASELINE)][1] == [[None] * len(THRESHOLDS)] * 3
    assert drawn["probability"]["entries"] == drawn["ranks"]["entries"] == [names.index(NETWORK)]
    assert names[0] == NETWORK  # the better one, by CSI


def test_frames_are_the_rates_of_the_showcase_in_the_colours_of_maps(
    elements: Elements, benchmark_folder: Path
) -> None:
    (case,) = elements.json("cases-data")
    colours, norm = rain_colours()
    with xr.open_dataset(benchmark_folder / "showcase" / "case-1.nc") as showcase:
        fields = [
            showcase.observed.values[1],
            showcase.past.values[0],
            showcase.rain_rate.sel(entry=BASELINE).values[2],
        ]
    (twin,) = (one["frames"] for one in case["forecasts"] if one["name"] == BASELINE)
    assert np.isnan(fields[0]).any()
    for field, text in zip(fields, [case["observed"][1], case["past"][0], twin[2]], strict=True):
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            found = np.asarray(image.convert("RGB"))
        wanted = colours(norm(np.ma.masked_invalid(field)))[..., :3]
        np.testing.assert_array_equal(found, np.rint(255 * wanted))
    assert case["minutes"] == [-5, 0, 5, 10, 15]
    assert case["clocks"] == ["23:50", "23:55", "00:00", "00:05", "00:10"]


@pytest.mark.parametrize(("rate", "colour"), [(0.0999, "#ffffff"), (0.1, "#d6ecff"), (99, "#e0301e"), (100, "#8e1c86")])
def test_rates_on_a_step_have_the_colour_that_begins_there(rate: float, colour: str) -> None:
    with Image.open(io.BytesIO(base64.b64decode(picture(np.full((3, 5), rate))))) as image:
        assert to_hex(np.asarray(image.convert("RGB"))[1, 1] / 255) == colour


def test_large_frames_are_averaged_and_the_page_says_so(copy: Path) -> None:
    path = copy / "showcase" / "case-1.nc"
    with xr.open_dataset(path) as small:
        wide = small.load().isel(x=np.repeat(np.arange(small.sizes["x"]), 26))  # 832 pixels
    wide.assign_coords(x=np.arange(wide.sizes["x"])).to_netcdf(path)
    (case,) = Elements(write_report(copy)).json("cases-data")
    assert (case["averaged"], case["height"], case["width"]) == (3, 8, 278)


@pytest.mark.parametrize("name", ["leaderboard.csv", "entries.json", "protocol.json", "benchmark.yaml", "scores.nc"])
def test_a_folder_without_a_benchmark_is_refused_and_the_old_page_stays(copy: Path, name: str) -> None:
    page = write_report(copy)
    page.write_text("old")
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}.* run it first"):
        write_report(copy)
    assert page.read_text() == "old"
    assert list(page.parent.iterdir()) == [page]


def test_a_broken_file_is_refused(copy: Path) -> None:
    (copy / "entries.json").write_text("[{")
    with pytest.raises(InputError, match="cannot be read"):
        write_report(copy)


def test_differences_accumulations_and_showcase_may_be_missing(copy: Path) -> None:
    shutil.rmtree(copy / "showcase")
    for name in ("differences.nc", "accumulation.nc"):
        (copy / name).unlink()
    elements = Elements(write_report(copy))
    assert elements.json("figures-data")["reference"] is None
    assert elements.json("cases-data") == []


def test_a_benchmark_in_which_all_failed_has_a_page_with_the_errors(copy: Path) -> None:
    entries = [entry for entry in json.loads((copy / "entries.json").read_text()) if entry["status"] == "failed"]
    (copy / "entries.json").write_text(json.dumps(entries))
    for name in ("scores.nc", "differences.nc", "accumulation.nc"):
        (copy / name).unlink()
    shutil.rmtree(copy / "showcase")
    elements = Elements(write_report(copy))
    assert any(ERROR in one["text"] for one in elements.named("tr"))
    assert len(elements.named("script")) == 4  # without plotly


def test_few_entries_are_all_shown_of_many_the_best_and_the_baselines() -> None:
    networks = [Entry(f"network {k}", "network") for k in range(20)]
    assert len(default_names(networks[:12])) == 12
    both = [*networks, Entry("persistence", "baseline")]
    assert default_names(both) == {f"network {k}" for k in range(8)} | {"persistence"}


def test_the_page_says_what_cannot_be_compared(benchmark_folder: Path) -> None:
    benchmark = Benchmark.read(benchmark_folder)
    said = " ".join(caveats(benchmark))
    assert "1 of 3 entries failed" in said
    assert "No S-PROG" in said
    assert "0123456789abcdef" in said
    assert "do not cover all observed pixels" in said
    with_sprog = dataclasses.replace(benchmark, entries=(*benchmark.entries, Entry("sprog", "baseline")))
    assert "No S-PROG" not in " ".join(caveats(with_sprog))
    alone = benchmark.scores.where(benchmark.scores.bound == "score")
    assert "no intervals" in " ".join(caveats(dataclasses.replace(benchmark, scores=alone)))
    uneven = tuple(Entry(str(steps), "network", seeds=(1,), train_steps=steps) for steps in (100, 300))
    said = " ".join(caveats(dataclasses.replace(benchmark, entries=uneven)))
    assert "between 100 and 300 optimiser steps" in said
    assert "trained once" in said


def test_infinite_and_missing_scores_are_no_numbers(benchmark_folder: Path) -> None:
    benchmark = Benchmark.read(benchmark_folder)
    scores = benchmark.scores.assign(frequency_bias=benchmark.scores.frequency_bias * 0 + np.inf)
    drawn = figures(dataclasses.replace(benchmark, scores=scores))
    (bias,) = (score for score in drawn["sets"][0]["scores"] if score["key"] == "frequency_bias")
    assert bias["values"][0][1][0] == [None] * len(THRESHOLDS)
    json.dumps(drawn, allow_nan=False)


@pytest.mark.parametrize(
    ("key", "head", "note"),
    [
        ("csi_0.1_30", "CSI", "30 min, ≥ 0.1 mm/h"),
        ("frequency_bias_1_60", "frequency bias", "60 min, ≥ 1 mm/h"),
        ("pooled_csi_16_1_60", "CSI of blocks", "60 min, ≥ 1 mm/h, 16 km"),
        ("mae_30", "MAE", "30 min"),
        ("effective_resolution_km_60", "effective resolution", "60 min, km"),
        ("latency_s", "forecast, s", ""),
        ("<odd>", "<odd>", ""),
    ],
)
def test_columns_have_heads_for_people(key: str, head: str, note: str) -> None:
    made = column(key)
    assert (made.head, made.note) == (head, note)
