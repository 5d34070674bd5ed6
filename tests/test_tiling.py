"""Tiles: as if the network had seen the whole field, no seams, NaN only where no tile can say, within memory."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import nn

from nowcast.contracts import Forecaster, InputError
from nowcast.tiling import Tiled, largest_side, peak_memory, places, seam_energy, tiled, weights

HEIGHT, WIDTH, SIDE, OVERLAP = 210, 330, 128, 64


class Plain(Forecaster):
    """A network that sees mm/h, and knows NaN by itself."""

    name, past_frames = "plain", 2

    def __init__(self, network: nn.Module) -> None:
        self.network, self.shapes = network.eval(), []  # type: ignore[var-annotated]

    @torch.inference_mode()
    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        self.shapes.append(tuple(past.shape[-2:]))
        made = self.network(past[:, -2:, 0].nan_to_num())[:, :steps, None]
        return torch.where(past[:, -1:].isnan(), torch.nan, made)

    def ensemble(self, past: torch.Tensor, steps: int, members: int) -> torch.Tensor:
        return torch.stack([self.forecast(past, steps) + member for member in range(members)], dim=1)

    def quantile(self, past: torch.Tensor, steps: int, levels: Sequence[float]) -> torch.Tensor:
        return torch.stack([self.forecast(past, steps) * level for level in levels], dim=2)

    def probability(self, past: torch.Tensor, steps: int, thresholds: Sequence[float]) -> torch.Tensor:
        return torch.stack([self.forecast(past, steps) / threshold for threshold in thresholds], dim=2)


def convolutions(layers: int) -> nn.Module:
    """Reach of `layers` pixels, and a coarse grid in between that tiles must not shift."""
    torch.manual_seed(3)
    inner = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.Tanh()) for _ in range(layers - 4)]
    return nn.Sequential(nn.Conv2d(2, 8, 2, stride=2), *inner[: (layers - 4) // 2], nn.ConvTranspose2d(8, 3, 2, 2))


class Centred(nn.Module):
    """Takes away the mean of its input, so every tile sees another offset."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - 0.3 * x.mean(dim=(-2, -1), keepdim=True)).repeat(1, 2, 1, 1)


def smooth_fields(frames: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(2 * frames, 1, HEIGHT // 10, WIDTH // 10, generator=generator)
    fields = nn.functional.interpolate(noise, (HEIGHT, WIDTH), mode="bicubic")
    return fields.unflatten(0, (2, frames)) * 5


@pytest.mark.parametrize("length", [1, 64, 128, 129, 200, 210, 330, 1000])
def test_tiles_cover_an_axis_and_their_weights_add_up_to_one(length: int) -> None:
    tiles, shares = places(length, SIDE, OVERLAP), weights(length, SIDE, OVERLAP)
    total = torch.zeros(length)
    for tile, share in zip(tiles, shares, strict=True):
        assert tile.start % 64 == 0
        assert 0 < tile.stop - tile.start <= SIDE
        assert (share >= 0).all()
        total[tile] += share
    torch.testing.assert_close(total, torch.ones(length))
    for one, following in pairwise(tiles):
        assert one.stop - following.start >= OVERLAP


def test_a_network_of_short_reach_forecasts_tiles_as_the_whole() -> None:
    past, plain = smooth_fields(), Plain(convolutions(16))
    past[:, :, :, :40, 100:180] = torch.nan
    whole = plain.forecast(past, 3)
    plain.shapes.clear()
    pieces = Tiled(plain, SIDE, OVERLAP).forecast(past, 3)
    assert len(plain.shapes) == 15
    assert max(max(shape) for shape in plain.shapes) == SIDE
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_beyond_the_reach_of_borders_a_far_seeing_network_is_as_on_the_whole() -> None:
    """A reach of 32 pixels, twice what the overlap hides: right where only one tile counts, 32 pixels within it."""
    torch.manual_seed(3)
    far = nn.Sequential(nn.Conv2d(2, 4, 33, padding=16), nn.Tanh(), nn.Conv2d(4, 3, 33, padding=16))
    past, plain = smooth_fields(), Plain(far)
    whole, pieces = plain.forecast(past, 3), Tiled(plain, SIDE, OVERLAP).forecast(past, 3)
    difference = (whole - pieces).abs().amax(dim=(0, 1, 2))
    assert difference[:64, :64].max() < 1e-5  # 128 − 64, the first tile's own; its borders there are the field's
    assert difference.max() > 1e-3


def test_ensembles_quantiles_and_probabilities_are_tiled_alike() -> None:
    past, plain = smooth_fields(), Plain(convolutions(12))
    pieces = Tiled(plain, SIDE, OVERLAP)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(pieces.ensemble(past, 2, 3), plain.ensemble(past, 2, 3), **close)
    torch.testing.assert_close(pieces.quantile(past, 2, [0.1, 0.9]), plain.quantile(past, 2, [0.1, 0.9]), **close)
    torch.testing.assert_close(pieces.probability(past, 2, [1, 5.0]), plain.probability(past, 2, [1, 5.0]), **close)


class Strict(Plain):
    """NaN within 20 pixels of any border, as where air comes from outside."""

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        made = past[:, -1:].repeat(1, steps, 1, 1, 1)
        inside = torch.zeros_like(made, dtype=torch.bool)
        inside[..., 20:-20, 20:-20] = True
        return torch.where(inside, made, torch.nan)


def test_a_pixel_is_nan_only_where_no_tile_can_say() -> None:
    past = smooth_fields()
    past[..., 100, 120] = torch.nan
    strict = Strict(nn.Identity())
    torch.testing.assert_close(Tiled(strict, SIDE, OVERLAP).forecast(past, 2), strict.forecast(past, 2), equal_nan=True)


class Narrowing(Plain):
    """Sees air come in 20 pixels a step, over all borders but those of tiles in the upper left."""

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        made = super().forecast(past, steps).clone()
        for step in range(1, steps if past[0, 0, 0, 0, 0] > 0 else 1):
            inside = torch.zeros(made.shape[-2:], dtype=torch.bool)
            inside[20 * step : -20 * step, 20 * step : -20 * step] = True
            made[:, step] = torch.where(inside, made[:, step], torch.nan)
        return made


class Only(Narrowing):
    """One lead time of it."""

    lead = 0

    def forecast(self, past: torch.Tensor, steps: int) -> torch.Tensor:
        return super().forecast(past, steps)[:, self.lead : self.lead + 1]


def test_each_lead_time_is_blended_of_the_tiles_that_can_say_then() -> None:
    past = smooth_fields()
    past[..., 0, 0] = 0
    tiles, one = Tiled(Narrowing(convolutions(2)), 128, 64), Only(convolutions(2))
    one.network = tiles.forecaster.network
    whole = tiles.forecast(past, 3)
    assert 0 < whole[:, 2].isnan().sum() != whole[:, 0].isnan().sum()
    for one.lead in range(3):
        apart = Tiled(one, 128, 64).forecast(past, 3)
        torch.testing.assert_close(whole[:, one.lead : one.lead + 1], apart, equal_nan=True)


def test_seams_of_a_network_that_sees_all_do_not_show() -> None:
    """Against tiles that meet in the middle of overlaps, where the same measure finds seams."""
    plain = Plain(Centred())
    past = smooth_fields() + torch.linspace(0, 60, WIDTH) + torch.linspace(0, 40, HEIGHT)[:, None]
    blended, laid = Tiled(plain, SIDE, OVERLAP).forecast(past, 1), torch.empty(2, 1, 1, HEIGHT, WIDTH)
    for row in places(HEIGHT, SIDE, OVERLAP):
        for column in places(WIDTH, SIDE, OVERLAP):
            top, left = row.start + OVERLAP // 2 * (row.start > 0), column.start + OVERLAP // 2 * (column.start > 0)
            made = plain.forecast(past[..., row, column], 1)
            laid[..., top : row.stop, left : column.stop] = made[..., top - row.start :, left - column.start :]
    assert seam_energy(past, SIDE, OVERLAP) == pytest.approx(1, abs=0.15)
    assert seam_energy(blended, SIDE, OVERLAP) < 1.3
    assert seam_energy(laid, SIDE, OVERLAP) > 3


def test_peak_memory_is_that_of_tensors_alive_together() -> None:
    def call() -> torch.Tensor:
        one = torch.ones(1000)  # 4 kB
        two = one + 1  # 8 kB
        del one
        three = torch.cat([two, two])  # 12 kB
        return three.view(-1)[:5]

    assert peak_memory(call) == 12_000


def test_tiles_are_as_large_as_memory_allows() -> None:
    plain = Plain(convolutions(12))
    past = torch.zeros(1, 2, 1, 512, 512)
    taken = peak_memory(lambda: plain.forecast(past, 1))
    assert largest_side(plain, 1.1 * taken, 4096) == 512
    assert largest_side(plain, 0.9 * taken, 4096) == 256
    assert largest_side(plain, 1e12, 300) == 512
    with pytest.raises(InputError, match="give more --memory or a smaller --batch_size"):
        largest_side(plain, 1e5, 4096)


def test_tiles_are_made_when_asked_or_needed() -> None:
    plain = Plain(convolutions(12))
    assert tiled(plain, "none", (5000, 5000), 0.1) is plain
    assert tiled(plain, "auto", (448, 448), 1e-6) is plain
    assert tiled(plain, "256", (200, 256), 1) is plain
    chosen = tiled(plain, "auto", (2000, 3000), 0.02)
    assert isinstance(chosen, Tiled)
    assert chosen.side == 512 or chosen.side == 256
    assert chosen.describe() == {"tiles": f"{chosen.side} pixels, overlap {chosen.overlap}"}
    for wrong in ("big", "-64"):
        with pytest.raises(InputError, match="auto, none or a side in pixels"):
            tiled(plain, wrong, (2000, 3000), 1)
    with pytest.raises(InputError, match="multiples of 64 pixels"):
        tiled(plain, "200", (2000, 3000), 1)
