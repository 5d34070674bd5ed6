"""Cuts, the cache behind them, the sampler that favours rain, and the tiles of evaluation."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader

from nowcast.contracts import Batch, InputError
from nowcast.data.archive import Archive, unpack, write_archive
from nowcast.data.cache import BLOCK, Frames
from nowcast.data.dataset import Cut, Cuts, RainSampler, SameSource, Source, tiles, turned, unpacked
from nowcast.data.windows import find_windows
from tests.conftest import moving_rain


def source(dataset: xr.Dataset, folder: Path, name: str = "a", cache: bool = True, frames: int = 6) -> Source:
    write_archive(dataset, folder / f"{name}.nc")
    archive = Archive.open(folder / f"{name}.nc")
    return Source(
        name,
        Frames(archive, folder / "cache" if cache else None),
        archive.times,
        find_windows(archive, frames, 5),
    )


@pytest.mark.parametrize("cache", [True, False])
def test_a_cut_holds_the_pixels_and_times_of_the_archive(rain: xr.Dataset, tmp_path: Path, cache: bool) -> None:
    cuts = Cuts([source(rain, tmp_path, cache=cache)], past_frames=2, size=16)
    sample = cuts[Cut(0, window=3, row=5, column=9)]
    expected = rain.rain_rate.values[3:9, 5:21, 9:25]
    got = torch.cat([sample["past"], sample["future"]])[:, 0].numpy()
    np.testing.assert_allclose(got, expected, atol=0.0051)
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    assert sample["past"].shape == (2, 1, 16, 16)
    assert np.datetime64(int(sample["start"]), "s") == rain.time.values[4]


def test_what_is_passed_on_in_hundredths_is_every_rate_that_files_hold() -> None:
    packed = np.arange(2**16, dtype=np.uint16)
    codes = torch.from_numpy(packed.view(np.int16))
    none = torch.empty(0)
    rate = unpacked(Batch(past=codes, future=codes[10:], start=none, archive=none, corner=none))
    np.testing.assert_array_equal(rate["past"].numpy(), unpack(packed))
    np.testing.assert_array_equal(rate["future"].numpy(), unpack(packed[10:]))


def test_what_lies_beyond_the_grid_is_not_observed(rain: xr.Dataset, tmp_path: Path) -> None:
    cuts = Cuts([source(rain, tmp_path)], past_frames=2, size=32)
    sample = cuts[Cut(0, window=0, row=30, column=50)]  # the grid is 40 × 56
    assert not torch.isnan(sample["past"][..., :10, :6]).any()
    assert torch.isnan(sample["past"][..., 10:, :]).all()
    assert torch.isnan(sample["past"][..., :, 6:]).all()


def test_frames_are_decoded_once(rain: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source(rain, tmp_path)
    monkeypatch.setattr(Archive, "read", lambda self, index: pytest.fail("decoded again"))
    again = Frames(Archive.open(tmp_path / "a.nc"), tmp_path / "cache")
    window = np.arange(4)
    np.testing.assert_array_equal(again.read(window, 0, 0, 40, 56), first.frames.read(window, 0, 0, 40, 56))


def test_a_changed_archive_is_decoded_anew(rain: xr.Dataset, tmp_path: Path) -> None:
    source(rain, tmp_path)
    changed = source(rain.assign(rain_rate=rain.rain_rate + 1), tmp_path)
    assert np.nanmin(changed.frames.read(np.arange(2), 0, 0, 40, 56)) >= 1


def test_a_cached_source_travels_light_to_workers(rain: xr.Dataset, tmp_path: Path) -> None:
    one = source(rain, tmp_path)
    pickled = pickle.dumps(one)
    assert len(pickled) < one.frames.rain.nbytes + one.frames.known.nbytes + 10_000
    whole = (np.arange(3), 0, 0, 40, 56)
    np.testing.assert_array_equal(pickle.loads(pickled).frames.read(*whole), one.frames.read(*whole))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_what_the_main_process_gives(rain: xr.Dataset, tmp_path: Path, method: str) -> None:
    one = source(rain, tmp_path)
    sampler = RainSampler([one], size=16, samples=6)
    cuts = Cuts([one], past_frames=2, size=16)
    alone = list(DataLoader(cuts, batch_size=2, sampler=sampler))
    context = multiprocessing.get_context(method)
    together = list(DataLoader(cuts, batch_size=2, sampler=sampler, num_workers=2, multiprocessing_context=context))
    for mine, theirs in zip(alone, together, strict=True):
        for key, value in mine.items():
            torch.testing.assert_close(value, theirs[key], equal_nan=True, rtol=0, atol=0)


def test_turns_are_the_eight_symmetries_of_a_square() -> None:
    field = torch.arange(9.0).reshape(3, 3)
    seen = {tuple(turned(field, turn).flatten().tolist()) for turn in range(8)}
    assert len(seen) == 8
    assert torch.equal(turned(field, 0), field)


def dry_with_rain_in_one_corner() -> xr.Dataset:
    rain = moving_rain(height=128, width=160)
    inside = np.zeros((128, 160), dtype=bool)
    inside[96:, 128:] = True
    return rain.assign(rain_rate=rain.rain_rate.where(inside, 0.0))


def test_random_cuts_favour_rain_but_dry_ones_appear(tmp_path: Path) -> None:
    one = source(dry_with_rain_in_one_corner(), tmp_path)
    cuts = list(RainSampler([one], size=32, samples=2000, floor=0.02))
    rainy = np.mean([cut.row > 64 and cut.column > 96 for cut in cuts])
    uniform = np.mean([cut.row > 64 and cut.column > 96 for cut in RainSampler([one], 32, 2000, floor=1e6)])
    assert uniform < 0.2
    assert rainy > 3 * uniform
    assert rainy < 0.99


def test_the_chance_of_a_place_is_its_floor_plus_its_rain(tmp_path: Path) -> None:
    """Against a twin that averages saturated rain over every crop on the grid of blocks by a loop."""
    one = source(moving_rain(height=64, width=80), tmp_path)
    sampler = RainSampler([one], size=32, samples=1, floor=0.05)
    weights = np.diff(sampler._cumulative, prepend=0)
    expected = []
    for window in one.windows:
        for row in range(0, 64 - 32 + 1, BLOCK):
            for column in range(0, 80 - 32 + 1, BLOCK):
                rate = one.frames.read(window, row, column, 32, 32)
                enough = ((~np.isnan(rate)).mean(axis=(1, 2)) >= 0.5).all()
                expected.append(((1 - np.exp(-np.nan_to_num(rate))).mean() + 0.05) * enough)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_epochs_differ_and_seeds_repeat(rain: xr.Dataset, tmp_path: Path) -> None:
    one = source(rain, tmp_path)
    sampler, twin = (RainSampler([one], size=16, samples=20, seed=3) for _ in range(2))
    first = list(sampler)
    assert first == list(twin)
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_cuts_without_coverage_are_never_drawn(rain: xr.Dataset, tmp_path: Path) -> None:
    blind = rain.assign(rain_rate=rain.rain_rate.where(rain.x < 4e6 + 20_000))
    one = source(blind, tmp_path)
    cuts = RainSampler([one], size=16, samples=300, floor=1.0)
    assert max(cut.column for cut in cuts) < 2 * BLOCK
    nothing = source(rain.assign(rain_rate=rain.rain_rate * np.nan), tmp_path, "nothing")
    with pytest.raises(InputError, match="radar coverage"):
        RainSampler([nothing], size=16, samples=1)


@pytest.mark.parametrize("size", [16, 24, None])
def test_tiles_hold_every_pixel_of_every_chosen_window_once(rain: xr.Dataset, tmp_path: Path, size: int | None) -> None:
    one = source(rain, tmp_path)
    cuts = tiles([one], size, every=5)
    assert {cut.window for cut in cuts} == set(range(0, len(one.windows), 5))
    counts = np.zeros((40, 56), dtype=int)
    for cut in (cut for cut in cuts if cut.window == 5):
        counts[cut.row : cut.row + (size or 40), cut.column : cut.column + (size or 56)] += 1
    assert (counts == 1).all()


def test_batches_never_mix_archives_of_different_grids(rain: xr.Dataset, tmp_path: Path) -> None:
    two = [source(rain, tmp_path), source(moving_rain(height=24, width=32), tmp_path, "b")]
    cuts = tiles(two, None, every=4)
    batches = list(DataLoader(Cuts(two, 2, None), batch_sampler=SameSource(cuts, 4)))
    assert sum(len(batch["start"]) for batch in batches) == len(cuts)
    assert {tuple(batch["past"].shape[-2:]) for batch in batches} == {(40, 56), (24, 32)}
