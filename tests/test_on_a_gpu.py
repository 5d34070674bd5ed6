"""What computes on a GPU computes what it does on the CPU; skipped where there is none."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nowcast import attention
from nowcast.baselines.lagrangian_persistence import LagrangianPersistence
from nowcast.contracts import Batch, InputError
from nowcast.data.dataset import unpacked
from nowcast.memory import memory_explained
from nowcast.norms import GroupNorm
from nowcast.trained import Trained
from nowcast.training import build, taught
from tests.attention.test_contract import built, maps
from tests.conftest import moving_rain
from tests.models.test_promises import SMALL, nudged, small
from tests.test_resume import assert_same, curves, fit
from tests.test_training import CONFIG, past, radar, trainer
from tests.verification.kinds import KINDS, LEAD_TIMES

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Convolutions of float32 in float32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def forward_and_back(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """What a module makes of some maps, and the gradients of a sum of it, on the CPU."""
    torch.manual_seed(0)
    made = module(x.requires_grad_())
    pull = torch.randn(made.shape).to(x)
    gradients = torch.autograd.grad((made * pull).sum(), [x, *module.parameters()], allow_unused=True)
    return [one.cpu() for one in (made.detach(), *gradients) if one is not None]


def off(got: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """The largest relative difference; what is nearly 0 beside the others, as gradients may be, is to be nearly 0."""
    least = 1e-2 * max(float(one.detach().norm()) for one in wanted[1:] or wanted)
    pairs = [(one.detach().double(), other.detach().double()) for one, other in zip(got, wanted, strict=True)]
    return max(float((one - other).norm() / other.norm().clamp_min(least)) for one, other in pairs)


@pytest.mark.parametrize("name", attention.names())
def test_attention(name: str) -> None:
    module, x = built(name).eval(), maps(name)
    wanted = forward_and_back(module, x.clone())
    got = forward_and_back(module.to(DEVICE), x.to(DEVICE))
    assert off(got, wanted) < 1e-3


@pytest.mark.parametrize("key", SMALL)
def test_networks(key: str) -> None:
    network, x = nudged(small(key)).eval(), torch.rand(2, 3, 1, 24, 20)
    wanted = forward_and_back(network, x.clone())
    got = forward_and_back(network.to(DEVICE).to(memory_format=torch.channels_last), x.to(DEVICE))
    assert off(got, wanted) < 2e-3


def test_hundredths_are_the_rates_of_the_cpu_to_the_last_bit() -> None:
    codes, none = torch.from_numpy(np.arange(2**16, dtype=np.uint16).view(np.int16)), torch.empty(0)
    here, there = (
        unpacked(Batch(past=one, future=one, start=none, archive=none, corner=none))["past"].cpu()
        for one in (codes, codes.to(DEVICE))
    )
    torch.testing.assert_close(there, here, rtol=0, atol=0, equal_nan=True)


def test_group_norm_of_large_dry_maps_is_precise() -> None:
    torch.manual_seed(0)
    rain = (torch.rand(2, 16, 640, 704) < 0.1) * torch.rand(2, 16, 640, 704) * 2
    x = (0.3 + rain).to(DEVICE).contiguous(memory_format=torch.channels_last)
    wanted = nn.functional.group_norm(x.double(), 2)
    assert (GroupNorm(2, 16).to(DEVICE)(x) - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_advection_along_the_motion() -> None:
    rain = torch.from_numpy(moving_rain().rain_rate.values[None, :4, None])
    wanted = LagrangianPersistence().forecast(rain, 6)
    got = LagrangianPersistence().forecast(rain.to(DEVICE), 6).cpu()
    assert torch.equal(got.isnan(), wanted.isnan())
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("name", KINDS)
def test_scores(name: str) -> None:
    if name == "sal":
        pytest.importorskip("pysteps")
    here, there = (KINDS[name].make(LEAD_TIMES) for _ in range(2))
    forecast, observed = KINDS[name].fields()
    here.update(forecast, observed)
    there.update(forecast.to(DEVICE), observed.to(DEVICE))
    for name, variable in here.compute().items():
        torch.testing.assert_close(
            torch.tensor(there.compute()[name].values), torch.tensor(variable.values), rtol=1e-5, atol=1e-6,
            equal_nan=True,
        )  # fmt: skip


def test_a_training_in_bfloat16_and_what_it_forecasts(archive_path: Path, tmp_path: Path) -> None:
    data, task = radar(archive_path, tmp_path), build(CONFIG)
    trained = trainer(tmp_path, accelerator="gpu", devices=1, precision="bf16-mixed", max_epochs=2)
    trained.fit(task, datamodule=data)
    assert torch.isfinite(trained.callback_metrics["val_loss"])
    trained.save_checkpoint(tmp_path / "end.ckpt")
    holes = past()
    holes[0, :, :, :4] = torch.nan
    here, there = (Trained.load(tmp_path / "end.ckpt", device) for device in ("cpu", DEVICE))
    wanted, got = here.forecast(holes, 4), there.forecast(holes, 4)
    assert got.device == holes.device
    assert torch.equal(got.isnan(), wanted.isnan())
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_a_compiled_step_is_the_step(archive_path: Path, tmp_path: Path) -> None:
    task = build(CONFIG).to(DEVICE)
    future = torch.rand(2, 4, 1, 21, 30, device=DEVICE)
    made = []
    for step in (taught, torch.compile(taught)):
        loss = step(task.network, task.loss, past().to(DEVICE), future, 0.5)
        made.append([loss, *torch.autograd.grad(loss, task.network.parameters())])
    assert off(*made) < 1e-3


def test_a_run_that_was_stopped_continues_exactly(archive_path: Path, tmp_path: Path) -> None:
    """From each of its checkpoints, with the deterministic algorithms of PyTorch."""
    options = {"accelerator": "gpu", "devices": 1, "deterministic": "warn", "max_epochs": 2}
    fit(tmp_path / "whole", archive_path, **options)
    copies = sorted((tmp_path / "copies").iterdir())
    assert len(copies) > 3
    for copy in copies[1:4]:
        fit(copy, archive_path, tmp_path / f"of {copy.name}", **options)
        assert_same(curves(tmp_path / "whole"), curves(copy))


def test_memory_that_does_not_suffice_is_explained_with_numbers(archive_path: Path, tmp_path: Path) -> None:
    task, data = build(CONFIG), radar(archive_path, tmp_path)
    task.network.register_forward_hook(lambda *_: torch.empty(2**42, device=DEVICE))
    said = r"the device's [\d.]+ GiB are not enough \([\d.]+ used by this training, [\d.]+ free\) for batches of 4"
    with pytest.raises(InputError, match=said), memory_explained(data, task.network):
        trainer(tmp_path, accelerator="gpu", devices=1, num_sanity_val_steps=0).fit(task, datamodule=data)
