"""Training: a checkpoint stands alone and is data, a task is built from its config, masks reach the forecast."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch._dynamo.backends.registry import lookup_backend

from nowcast.contracts import InputError
from nowcast.data.archive import Archive
from nowcast.data.datamodule import Crops, Loading, RadarData
from nowcast.data.windows import Window
from nowcast.trained import Trained
from nowcast.training import build, forecast_rate, taught

CONFIG: dict[str, Any] = {
    "network": {
        "class_path": "nowcast.models.se_resunet.SEResUNet",
        "init_args": {
            "past_frames": 3,
            "steps": 4,
            "width": 8,
            "depth": 2,
            "attention": ["se", "eca", None, None, "cbam"],
        },
    },
    "loss": {"class_path": "nowcast.losses.Balanced", "init_args": {"weights": [3, 4, 5, 6]}},
    "learning_rate": 0.003,
}


def radar(archive_path: Path, folder: Path, **options: Any) -> RadarData:
    archive = str(archive_path)
    return RadarData(
        [archive],
        [archive],
        [archive],
        window=Window(3, 4, 5),
        crops=Crops(size=16, samples=8, every=6),
        loading=Loading(batch_size=4, cache=str(folder / "cache")),
        **options,
    )


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        **{
            "default_root_dir": folder,
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
        }
    )


@pytest.fixture(scope="module")
def checkpoint(archive_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    fit = trainer(folder, enable_checkpointing=False)
    fit.fit(build(CONFIG), datamodule=radar(archive_path, folder))
    fit.save_checkpoint(folder / "best.ckpt")
    return folder / "best.ckpt"


def past(height: int = 21, width: int = 30) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 5 * torch.rand((2, 3, 1, height, width), generator=generator)


def test_a_checkpoint_stands_alone(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    twin = build(content["nowcast"]["config"])
    twin.load_state_dict(content["state_dict"])
    loaded = Trained.load(checkpoint)
    assert loaded.name == "SEResUNet"
    assert (loaded.past_frames, loaded.steps, loaded.step_s) == (3, 4, 300)
    assert loaded.facts["pixel_m"] == 1000
    assert len(loaded.digest) == 64
    with torch.no_grad():
        expected = forecast_rate(twin.network.eval(), past())
    torch.testing.assert_close(loaded.forecast(past(), 4), expected)
    torch.testing.assert_close(loaded.forecast(past(), 2), expected[:, :2])
    assert not torch.equal(expected[:, 0], past()[:, -1]), "training changed nothing"


def test_a_run_folder_serves_as_its_best_checkpoint(checkpoint: Path) -> None:
    assert Trained.load(checkpoint.parent).digest == Trained.load(checkpoint).digest


def test_only_the_last_past_frames_are_used(checkpoint: Path) -> None:
    loaded = Trained.load(checkpoint)
    longer = torch.cat([torch.full((2, 5, 1, 21, 30), 7.0), past()], dim=1)
    torch.testing.assert_close(loaded.forecast(longer, 4), loaded.forecast(past(), 4))


def test_pixels_never_observed_are_nan_in_the_forecast_and_no_others(checkpoint: Path) -> None:
    holes = past()
    holes[0, :, :, :4] = torch.nan
    holes[0, 0, :, 10] = torch.nan
    forecast = Trained.load(checkpoint).forecast(holes, 4)
    assert torch.isnan(forecast[0, :, :, :4]).all()
    assert not torch.isnan(forecast[0, :, :, 4:]).any()
    assert not torch.isnan(forecast[1]).any()
    assert (forecast.nan_to_num() >= 0).all()


def test_unobserved_pixels_of_the_future_do_not_train(archive_path: Path, tmp_path: Path) -> None:
    task = build(CONFIG)
    loss = taught(task.network, task.loss, past(), torch.full((2, 4, 1, 21, 30), torch.nan), 0.0)
    assert loss.item() == 0


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def test_code_in_a_checkpoint_does_not_run(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "extra": Malicious(tmp_path / "ran")}, tmp_path / "bad.ckpt")
    with pytest.raises(InputError, match="cannot be read as a checkpoint of plain data"):
        Trained.load(tmp_path / "bad.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_cannot_name_code_outside_the_trusted_packages(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["nowcast"]["config"]["network"]["class_path"] = "antigravity.Module"
    torch.save(content, tmp_path / "outside.ckpt")
    with pytest.raises(InputError, match=r"antigravity\.Module, outside the trusted packages"):
        Trained.load(tmp_path / "outside.ckpt")


def test_unusable_checkpoints_are_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.ckpt").write_bytes(checkpoint.read_bytes()[:5000])
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    for name, said in {
        "missing.ckpt": "does not exist",
        "cut.ckpt": "plain data",
        "text.ckpt": "plain data",
        "foreign.ckpt": "no checkpoint of nowcast",
    }.items():
        with pytest.raises(InputError, match=said) as caught:
            Trained.load(tmp_path / name)
        assert name in str(caught.value)


def test_weights_that_do_not_fit_are_said(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["nowcast"]["config"]["network"]["init_args"]["width"] = 16
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="does not fit its own network"):
        Trained.load(tmp_path / "other.ckpt")


def test_what_the_network_cannot_do_is_said(checkpoint: Path, archive_path: Path) -> None:
    loaded = Trained.load(checkpoint)
    with pytest.raises(InputError, match=r"trained for 4 steps \(20 min\), not 5"):
        loaded.forecast(past(), 5)
    with pytest.raises(InputError, match="needs 3 past frames, it was given 2"):
        loaded.forecast(past()[:, :2], 4)
    loaded.check(Archive.open(archive_path))
    loaded.facts["pixel_m"] = 2000
    with pytest.raises(InputError, match=r"grid length of 1000 m, the network was trained on 2000 m; resample"):
        loaded.check(Archive.open(archive_path))


def test_a_split_without_windows_is_named(archive_path: Path, tmp_path: Path) -> None:
    data = radar(archive_path, tmp_path)
    data.window = Window(20, 12, 5)
    with pytest.raises(
        InputError, match=r"moving\.nc \(24 frames\) has no 32 frames in a row 5 min apart for data\.train"
    ):
        data.setup("fit")


def test_an_epoch_without_a_batch_is_named(archive_path: Path, tmp_path: Path) -> None:
    data = radar(archive_path, tmp_path)
    data.crops = replace(data.crops, samples=3)
    with pytest.raises(InputError, match=r"the 3 crops of an epoch \(data.crops.samples\) are less than a batch of 4"):
        data.setup("fit")
    data.setup("test")


def test_the_loss_falls_and_bf16_and_channels_last_train_too(archive_path: Path, tmp_path: Path) -> None:
    finals = {}
    for precision in ("32-true", "bf16-mixed", "bf16-true"):
        pl.seed_everything(0, verbose=False)
        task = build(CONFIG)
        fit = trainer(tmp_path, max_epochs=8, precision=precision, enable_checkpointing=False)
        fit.validate(task, datamodule=radar(archive_path, tmp_path), verbose=False)
        before = float(fit.callback_metrics["val_loss"])
        fit.fit(task, datamodule=radar(archive_path, tmp_path))
        finals[precision] = float(fit.callback_metrics["val_loss"])
        assert torch.isfinite(forecast_rate(task.network, past())).all()  # as sample pictures are made
        assert finals[precision] < before
    assert finals["bf16-mixed"] == pytest.approx(finals["32-true"], rel=0.1)
    assert finals["bf16-true"] == pytest.approx(finals["32-true"], rel=0.2)


class Gradients(pl.Callback):
    """Keeps the gradient that each step was made with."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, task: pl.LightningModule, *_: Any) -> None:
        self.seen.append(torch.cat([weight.grad.flatten() for weight in task.parameters() if weight.grad is not None]))


@pytest.mark.parametrize(("algorithm", "measure"), [("norm", torch.Tensor.norm), ("value", lambda x: x.abs().max())])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_and_their_norm_before_is_logged(
    algorithm: str, measure: Callable[[torch.Tensor], torch.Tensor], precision: str, archive_path: Path, tmp_path: Path
) -> None:
    kept, logged = [], []
    for most in (0.0, 1e-3):
        pl.seed_everything(0, verbose=False)
        steps = Gradients()
        made = trainer(
            tmp_path, gradient_clip_val=most, gradient_clip_algorithm=algorithm, precision=precision, callbacks=[steps],
            enable_checkpointing=False, limit_train_batches=1,
        )  # fmt: skip
        made.fit(build(CONFIG), datamodule=radar(archive_path, tmp_path))
        kept.append(steps.seen[0])
        logged.append(float(made.callback_metrics["gradient_norm"]))
    assert logged[1] == pytest.approx(logged[0]) == pytest.approx(float(kept[0].norm()))
    assert measure(kept[0]) > 1e-3
    assert float(measure(kept[1])) == pytest.approx(1e-3, rel=1e-3)
    assert (kept[1] * kept[0] >= 0).all()


def test_compiled_steps_train_as_others_do(archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As traced and differentiated by PyTorch's compiler; kernels of its own would take it half a minute."""
    made: list[list[float]] = []
    graphs = []

    def counted(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        graphs.append(len(made))
        return lookup_backend("aot_eager")(graph, inputs)

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counted))
    for compiled in (False, True):
        pl.seed_everything(0, verbose=False)
        task = build({**CONFIG, "compile": compiled})
        fit = trainer(tmp_path, enable_checkpointing=False)
        fit.fit(task, datamodule=radar(archive_path, tmp_path))
        made.append([float(fit.callback_metrics[name]) for name in ("train_loss", "val_loss", "gradient_norm")])
    assert made[1] == pytest.approx(made[0], rel=1e-3)
    assert set(graphs) == {1}  # of the second training alone


@pytest.mark.parametrize(
    ("network", "loss"),
    [
        ({"class_path": "nowcast.models.quantiles.Quantiles", "init_args": {"levels": 3}}, "Pinball"),
        ({"class_path": "nowcast.models.lagrangian.Lagrangian", "init_args": {}}, "MAE"),
        (
            {
                "class_path": "nowcast.models.lagrangian.Lagrangian",
                "init_args": {"network": {"name": "quantiles", "levels": 3}},
            },
            "Pinball",
        ),
    ],
    ids=["quantiles", "lagrangian", "lagrangian of quantiles"],
)
def test_networks_that_train_otherwise_make_checkpoints_that_forecast(
    network: dict[str, Any], loss: str, archive_path: Path, tmp_path: Path
) -> None:
    inner = {"name": "se_resunet", "width": 8, "depth": 1}
    arguments = dict(network["init_args"])
    arguments["network"] = {**arguments["network"], "network": inner} if "network" in arguments else inner
    package, options = ("likelihoods", {"levels": 3}) if loss == "Pinball" else ("losses", {})
    task = build(
        {
            "network": {**network, "init_args": {"past_frames": 3, "steps": 4, **arguments}},
            "loss": {"class_path": f"nowcast.{package}.{loss}", "init_args": options},
        }
    )
    run = trainer(tmp_path)
    run.fit(task, datamodule=radar(archive_path, tmp_path))
    run.save_checkpoint(tmp_path / "last.ckpt")
    trained = Trained.load(tmp_path / "last.ckpt")
    assert trained.forecast(past(), 4).shape == (2, 4, 1, 21, 30)
    if loss == "MAE":
        with pytest.raises(InputError, match="no probabilities"):
            trained.probability(past(), 4, [1.0])
        return
    heavy, light = trained.probability(past(), 4, [5.0, 0.5]).unbind(2)
    assert (heavy <= light).all()
    members = trained.ensemble(past(), 4, 5)
    assert members.shape == (2, 5, 4, 1, 21, 30)
    assert (members.diff(dim=1) >= 0).all()


def test_a_network_that_sees_more_than_it_forecasts_trains_on_centres_and_forecasts_whole_frames(
    archive_path: Path, tmp_path: Path
) -> None:
    options = {"past_frames": 3, "steps": 4, "widths": [8], "hidden": 8, "blocks": 1, "margin": 3}
    task = build({"network": {"class_path": "nowcast.models.metnet.MetNet", "init_args": options}})
    run = trainer(tmp_path)
    run.fit(task, datamodule=radar(archive_path, tmp_path))
    seen = task.skill["network"].compute()
    assert 0 < float(seen.mae[0]) < 10
    run.save_checkpoint(tmp_path / "last.ckpt")
    forecast = Trained.load(tmp_path / "last.ckpt").forecast(past(), 4)
    assert forecast.shape == (2, 4, 1, 21, 30)
    assert not torch.isnan(forecast).any()
    assert run.test(task, datamodule=radar(archive_path, tmp_path), verbose=False) is not None
    assert {name: scores.cases for name, scores in task.skill.items()}["network"] > 0
