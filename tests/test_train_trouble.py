"""What goes wrong in the midst of a training: losses that are no numbers, damaged frames, code in configs, memory."""

import copy
import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from nowcast import models
from nowcast.contracts import Batch, InputError
from nowcast.data.archive import write_archive
from nowcast.data.datamodule import Crops, Loading, RadarData
from nowcast.data.dataset import unpacked
from nowcast.data.windows import Window
from nowcast.memory import memory_explained
from nowcast.trained import Trained
from nowcast.training import NowcastTask, build
from nowcast.verification import standard_scores
from tests.conftest import moving_rain
from tests.programs import run
from tests.test_train import CONFIGS
from tests.test_train import folder as folder  # the small archives and their config
from tests.test_training import CONFIG, radar, trainer


def test_a_loss_that_is_no_number_stops_with_the_batch_that_made_it(archive_path: Path, tmp_path: Path) -> None:
    task = build(CONFIG)
    with torch.no_grad():
        next(task.network.parameters())[:] = torch.nan
    with pytest.raises(InputError, match="the loss is nan at step 0") as caught:
        trainer(tmp_path, num_sanity_val_steps=0).fit(task, datamodule=radar(archive_path, tmp_path))
    (path,) = tmp_path.rglob("bad_batch_0.pt")
    assert str(path) in str(caught.value)
    kept = torch.load(path, weights_only=True)
    corners, starts = kept["batch"]["corner"], kept["batch"]["start"]
    assert len(corners) == 4
    for (row, column), start in zip(corners.tolist(), starts.tolist(), strict=True):
        named = f"moving at {np.datetime64(start, 's')}, row {row}, column {column}"
        assert named in str(caught.value)
    again = build(kept["config"])
    again.load_state_dict(kept["state_dict"])
    rain = moving_rain().rain_rate.sel(time=np.datetime64(starts[0].item(), "s")).values
    row, column = corners[0].tolist()
    tile = np.nan_to_num(rain[row : row + 16, column : column + 16])
    assert np.nan_to_num(kept["batch"]["past"][0, -1].numpy()).sum() == pytest.approx(tile.sum(), rel=0.01, abs=1)
    assert torch.isnan(again.network(torch.zeros(1, 3, 1, 16, 16))).any()


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(archive_path: Path, tmp_path: Path) -> None:
    task = build(CONFIG)
    weight = next(task.network.parameters())
    before = weight.detach().clone()
    weight.register_hook(lambda gradient: gradient * torch.inf)
    trained = trainer(tmp_path, num_sanity_val_steps=0, gradient_clip_val=1.0)
    with pytest.raises(InputError, match=r"the gradient is (inf|nan) at step 0, in a batch of moving"):
        trained.fit(task, datamodule=radar(archive_path, tmp_path))
    assert torch.equal(weight, before)
    assert len(list(tmp_path.rglob("bad_batch_0.pt"))) == 1


def with_damaged_frame(path: Path, dataset: xr.Dataset, frame: int) -> None:
    """An archive of which one frame was overwritten on the disk."""
    write_archive(dataset, path)
    if path.suffix == ".zarr":
        (path / "rain_rate" / f"{frame}.0.0").write_bytes(bytes(200))
        return
    with h5py.File(path) as file:
        chunk = file["rain_rate"].id.get_chunk_info(frame)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)


def data(folder: Path, name: str, **loading: Any) -> RadarData:
    write_archive(moving_rain(), folder / "good.nc")
    with_damaged_frame(folder / name, moving_rain(), 12)
    return RadarData(
        [name], ["good.nc"], ["good.nc"], root=str(folder), window=Window(3, 4, 5),
        crops=Crops(size=16, samples=8), loading=Loading(batch_size=4, **loading),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["damaged.nc", "damaged.zarr"])
@pytest.mark.parametrize("cached", [False, True])
def test_windows_with_a_damaged_frame_are_left_out_and_counted(
    name: str, cached: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = data(tmp_path, name, cache=str(tmp_path / "cache") if cached else None)
    second = copy.deepcopy(first)  # which finds the cache
    for one in (first, second):
        one.setup("fit")
        said = capsys.readouterr().err
        assert f"{name}: 1 of 24 frames cannot be read, at 2020-06-01T13:00" in said
        assert "7 of 18 windows are left out" in said
        (source,) = one.sources["train"]
        assert not (source.windows == 12).any()
        assert len(source.windows) == 11
        assert one.facts()["unreadable_frames"] == 1


def test_too_many_damaged_frames_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"allow a greater share with data\.loading\.unreadable"):
        data(tmp_path, "damaged.nc", cache=None, unreadable=0.04).setup("fit")


def test_memory_that_does_not_suffice_is_explained_with_numbers(archive_path: Path, tmp_path: Path) -> None:
    task = build(CONFIG)
    task.network.register_forward_hook(lambda *_: torch.empty(2**50))
    data = radar(archive_path, tmp_path)
    said = r"main memory is not enough for batches of 4 windows of 3 \+ 4 frames, 16 × 16"
    with pytest.raises(InputError, match=said), memory_explained(data, task.network):
        trainer(tmp_path, num_sanity_val_steps=0).fit(task, datamodule=data)
    with pytest.raises(RuntimeError, match="another"), memory_explained(data, task.network):
        raise RuntimeError("another")
    recurrent = models.create("convlstm", past_frames=3, steps=4)
    for network, advised in ((recurrent, True), (task.network, False)):
        with pytest.raises(InputError) as caught, memory_explained(data, network):
            torch.empty(2**50)
        assert ("gradient checkpointing" in str(caught.value)) == advised


@pytest.mark.parametrize(("room", "found"), [(100, 16), (6, 4), (1, 1)])
def test_the_batch_size_is_found_and_kept(
    room: int, found: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that has room for so many samples."""
    step, sizes = NowcastTask.training_step, []

    def narrow(self: NowcastTask, batch: Batch, batch_index: int) -> torch.Tensor:
        sizes.append(len(batch["past"]))
        if sizes[-1] > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return step(self, batch, batch_index)

    monkeypatch.setattr(NowcastTask, "training_step", narrow)
    got = run(
        "nowcast.train", "--config", folder / "tiny.yaml", "--run", tmp_path / "run", "--test", "false",
        "--auto-batch", "--trainer.max_epochs", 1, "--data.crops.samples", 40,
    )  # fmt: skip
    assert got.returncode == 0, got.stderr
    assert got.stderr == ""
    assert set(sizes) == {2**power for power in range(5) if 2**power <= max(2 * found, 16 * (room > 16))}
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["loading"]["batch_size"] == found
    assert not config["auto_batch"]
    assert f"batches of {found}" in got.stdout
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 40 // found


def test_configs_take_no_code_from_elsewhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere.py").write_text(
        "from pathlib import Path\n"
        "from nowcast.models.se_resunet import SEResUNet as Base\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class Network(Base): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = {"model": {"network": {"class_path": "elsewhere.Network"}}, "allow_import": "elsewhere"}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", folder / "tiny.yaml", "--config", tmp_path / "bad.yaml", "--run", tmp_path / "run"]
    words += ["--trainer.max_epochs", 1]
    got = run("nowcast.train", *words)
    assert got.returncode == 2
    assert "takes elsewhere.Network from a package other than nowcast, torch and lightning" in got.stderr
    assert "--allow_import elsewhere" in got.stderr
    assert not (tmp_path / "ran").exists()
    got = run("nowcast.train", *words, "--allow_import", "elsewhere")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "ran").exists()


def callbacks(path: Path, *chosen: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"trainer": {"callbacks": list(chosen)}}))
    return path


def test_averaged_weights_are_validated_tested_and_kept(folder: Path, tmp_path: Path) -> None:
    got = run(
        "nowcast.train", "--config", folder / "tiny.yaml", "--config", CONFIGS / "trainer" / "average.yaml",
        "--run", tmp_path / "run", "--model.learning_rate", 0.02, "--trainer.max_epochs", 3,
    )  # fmt: skip
    assert got.returncode == 0, got.stderr
    assert got.stderr == ""
    best = torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)
    means, last = best["state_dict"], best["current_model_state"]
    assert any(not torch.equal(means[name], last[name]) for name in means)
    data = RadarData(
        ["train.nc"], ["val.nc"], ["test.nc"], root=str(folder), window=Window(2, 3, 5),
        crops=Crops(size=32, every=3), loading=Loading(batch_size=4, cache=None),
    )  # fmt: skip
    data.setup()
    trained = Trained.load(tmp_path / "run")
    scores = standard_scores(data.window.lead_times)
    for batch in map(unpacked, data.test_dataloader()):
        scores.update(trained.forecast(batch["past"], 3), batch["future"])
    with open(tmp_path / "run" / "skill.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["forecast"] == "SEResUNet" and row["score"] == "mae"]
    seen = [float(row["value"]) for row in rows]
    assert seen == pytest.approx(scores.compute().mae.values.tolist(), rel=1e-5)


def test_lightnings_own_callbacks_work_from_a_config(folder: Path, tmp_path: Path) -> None:
    early = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss"}}
    early["init_args"] |= {"patience": 1, "min_delta": 100.0}
    averaging = {"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging"}
    averaging["init_args"] = {"swa_lrs": 0.001, "swa_epoch_start": 1}
    config = callbacks(tmp_path / "callbacks.yaml", early, averaging)
    got = run(
        "nowcast.train", "--config", folder / "tiny.yaml", "--config", config, "--run", tmp_path / "run",
        "--trainer.max_epochs", 6, "--trainer.accumulate_grad_batches", 2,
    )  # fmt: skip
    assert got.returncode == 0, got.stderr
    assert [line.split(":")[0] for line in got.stdout.splitlines() if line.startswith("epoch")] == [
        "epoch 1/6", "epoch 2/6",
    ]  # fmt: skip
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 2
