"""What a benchmark's entries gain over its reference: a CSV and a picture of differences with their intervals.

    python scripts/plot_differences.py --folder runs/benchmark/attentions --out docs/benchmark_attentions

Every entry and seed is a line, best CSI first. Where the reference has several seeds, the range of the others is
shaded: a difference within it may be chance.
"""

from pathlib import Path

import matplotlib
import pandas as pd
import xarray as xr

from nowcast.contracts import InputError
from nowcast.program import run

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FACTS = ["parameters", "windows_per_second"]
BOUNDS = ["lower", "score", "upper"]


def main(folder: Path, out: Path, lead_time: float = 60, threshold: float = 1, kind: str = "network") -> None:
    """Write OUT.csv and OUT.png.

    Args:
        folder: of a benchmark with a reference.
        out: path of the results without suffix.
        lead_time: minutes.
        threshold: mm/h of the CSI.
        kind: of the entries that are shown: network, checkpoint or baseline.
    """
    table = differences(folder, lead_time, threshold, kind)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out.with_suffix(".csv"), index=False, float_format="%.4g")
    draw(table, lead_time, threshold, out.with_suffix(".png"))
    print(f"{out}.csv, {out}.png: {len(table)} lines")


def differences(folder: Path, lead_time: float, threshold: float, kind: str) -> pd.DataFrame:
    """A line an entry and seed: facts, MAE and CSI, and how far both are from the reference's, with intervals.

    Raises:
        InputError: for a folder without differences, or without that lead time or threshold.
    """
    for name in ("leaderboard.csv", "differences.nc", "scores.nc", "entries.json"):
        if not (folder / name).exists():
            raise InputError(f"{folder} has no {name}; run a benchmark whose reference is one of its entries")
    kinds = pd.read_json(folder / "entries.json").set_index("name")["kind"]
    board = pd.read_csv(folder / "leaderboard.csv").set_index(["entry", "seed"])
    known = [name for name in FACTS if name in board]
    with xr.open_dataset(folder / "differences.nc") as gains, xr.open_dataset(folder / "scores.nc") as scores:
        reference = gains.attrs["reference"]
        try:
            gains, scores = (table.sel(lead_time=lead_time, threshold=threshold) for table in (gains, scores))
        except KeyError as error:
            raise InputError(
                f"{folder} has lead times {scores.lead_time.values.tolist()} min and thresholds "
                f"{scores.threshold.values.tolist()} mm/h, not {lead_time:g} and {threshold:g}"
            ) from error
        rows = []
        for entry, seed in board.index[board.status == "done"]:
            if kinds[entry] != kind:
                continue
            row = {"entry": entry, "seed": seed, **board.loc[(entry, seed), known]}
            for score in ("csi", "mae"):
                row[score] = float(scores[score].sel(entry=entry, seed=seed, bound="score"))
                if entry in gains.entry and seed in gains.seed:
                    own = gains[score].sel(entry=entry, seed=seed)
                    row |= {f"{score}_{bound}": float(own.sel(bound=bound)) for bound in BOUNDS}
            rows.append(row)
    found = pd.DataFrame(rows).rename(columns={f"{s}_score": f"{s}_difference" for s in ("csi", "mae")})
    return found.assign(is_reference=found.entry == reference).sort_values("csi", ascending=False)


def draw(table: pd.DataFrame, lead_time: float, threshold: float, path: Path) -> None:
    """Differences of CSI and MAE beside each other, an entry a line."""
    height = 1.2 + 0.17 * len(table)
    figure, axes = plt.subplots(1, 2, figsize=(9, height), sharey=True, layout="constrained")
    places = range(len(table))
    for axis, score, title in zip(axes, ("csi", "mae"), (f"CSI ≥ {threshold:g} mm/h", "MAE, mm/h"), strict=True):
        middle, low, high = (table[f"{score}_{name}"] for name in ("difference", "lower", "upper"))
        colours = ["#c44" if own else "#26a" for own in table.is_reference]
        axis.hlines(places, low, high, colors=colours, lw=1)
        axis.scatter(middle, places, s=9, c=colours, zorder=3)
        axis.axvline(0, color="black", lw=0.8)
        others = middle[table.is_reference].dropna()
        if len(others):
            axis.axvspan(min(0, others.min()), max(0, others.max()), color="#c44", alpha=0.12, lw=0)
        axis.set_xlabel(f"difference of {title} at {lead_time:g} min")
        axis.grid(axis="x", alpha=0.3)
    names = [f"{row.entry}, seed {row.seed}" if row.is_reference else row.entry for row in table.itertuples()]
    axes[0].set_yticks(places, names, fontsize=7)
    axes[0].invert_yaxis()
    axes[0].margins(y=0.01)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    run(main)
