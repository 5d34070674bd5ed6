"""Exported networks forecast what their checkpoints do, hold no code, or say why there is no export."""

import importlib
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import nowcast
from nowcast import scaling
from nowcast.contracts import InputError
from nowcast.data.forecast_file import ForecastFile
from nowcast.export import OTHER, difference, export
from nowcast.exported import METADATA, Exported, ExportedNetwork
from nowcast.models.members import Members
from nowcast.models.quantiles import Quantiles
from nowcast.norms import GroupNorm
from nowcast.trained import Trained
from tests.programs import ROOT, run
from tests.test_train import folder as folder  # small archives and their config

TINY: dict[str, dict[str, Any]] = {
    "rainnet": {"width": 8, "depth": 1},
    "se_resunet": {"width": 8, "depth": 1},
}


def as_trained(network: nn.Module, past_frames: int = 2, name: str = "nowcast.models.named.Named") -> Trained:
    """A network as if it had been trained: no weight is at its start, so that no part of it counts for nothing."""
    torch.manual_seed(0)
    for weight in network.parameters():
        weight.data.add_(0.02 * torch.randn_like(weight))
    facts = {"past_frames": past_frames, "steps": 1, "step_s": 300, "pixel_m": 1000}
    return Trained(network.eval(), facts, {"network": {"class_path": name}}, "digest")


def configured(name: str) -> Trained:
    spec = yaml.safe_load((ROOT / "configs" / "model" / f"{name}.yaml").read_text())["model"]["network"]
    module, kind = spec["class_path"].rsplit(".", 1)
    torch.manual_seed(0)
    options = {**spec.get("init_args", {}), **TINY[name]}
    return as_trained(getattr(importlib.import_module(module), kind)(past_frames=2, steps=1, **options))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ending"), [("se_resunet", ".pt2"), ("rainnet", ".onnx")])
def test_a_config_is_exported_for_any_size(tmp_path: Path, name: str, ending: str) -> None:
    if ending == ".onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    trained, path = configured(name), tmp_path / f"network{ending}"
    shape, off = export(trained, path)
    assert shape == [-1, 2, 1, -1, -1]
    assert off < 0.003
    past = torch.rand(2, 2, 1, 41, 55) * 9
    past[:, :, :, :9, :7] = torch.nan
    mine, theirs = trained.forecast(past, 1), Exported.open(path).forecast(past, 1)
    torch.testing.assert_close(theirs, mine, rtol=1e-3, atol=1e-3, equal_nan=True)
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Path]:
    """A small network and its export."""
    trained = configured("rainnet")
    path = tmp_path_factory.mktemp("exported") / "network.pt2"
    export(trained, path)
    return trained, path


def test_an_exported_network_describes_itself_as_its_checkpoint(exported: tuple[Trained, Path]) -> None:
    trained, path = exported
    opened = nowcast.load(path)
    assert opened.parameters == trained.parameters > 0
    assert opened.describe() == {**trained.describe(), "exported": "torch-export"}
    assert (opened.name, opened.steps, opened.past_frames) == (trained.name, 1, 2)


def test_quantiles_are_exported_with_their_levels(tmp_path: Path) -> None:
    network = Quantiles(past_frames=2, steps=1, network={"name": "rainnet", "width": 8, "depth": 1}, levels=[0.2, 0.9])
    trained = as_trained(network)
    export(trained, tmp_path / "q.pt2")
    opened, past = Exported.open(tmp_path / "q.pt2"), torch.rand(1, 2, 1, 32, 24) * 9
    for call in (lambda one: one.quantile(past, 1, [0.3, 0.95]), lambda one: one.probability(past, 1, [1.0])):
        torch.testing.assert_close(call(opened), call(trained), rtol=1e-4, atol=1e-5)


def test_a_network_that_draws_noise_is_not_exported(tmp_path: Path) -> None:
    network = Members(
        past_frames=2, steps=1, network={"name": "rainnet", "width": 8, "depth": 1}, members=3, forecast_members=3
    )
    with pytest.raises(InputError, match="draws noise, and an export would draw other"):
        export(as_trained(network), tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


class Sized(nn.Module):
    """Two networks in one: which counts is decided by a size, so that a graph of one is wrong for the other."""

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return past[:, -1:] * (2.0 if past.shape[-1] > 150 else 3.0)


def test_a_network_that_is_another_for_other_sizes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Named cannot be exported; with --size H W"):
        export(as_trained(Sized()), tmp_path / "s.pt2")
    assert list(tmp_path.iterdir()) == []
    shape, off = export(as_trained(Sized()), tmp_path / "s.pt2", (32, 24))
    assert (shape, off) == ([1, 2, 1, 32, 24], 0)
    with pytest.raises(InputError, match="exported for fields of 32 × 24 pixels, not 40 × 24"):
        Exported.open(tmp_path / "s.pt2").forecast(torch.zeros(1, 2, 1, 40, 24), 1)


def test_an_export_that_forecasts_otherwise_is_refused_with_its_numbers(exported: tuple[Trained, Path]) -> None:
    trained, path = exported
    opened = Exported.open(path)
    assert difference(trained, opened, [-1, 2, 1, -1, -1]) < 1e-3
    call, whole = opened.network.call, opened.network
    opened.network = otherwise(whole, lambda past: call(past) + 0.1 * (past.shape[0] == OTHER[0]))
    with pytest.raises(InputError, match=rf"differs by up to 3 dBZ on {OTHER[1]} × {OTHER[2]} pixels"):
        difference(trained, opened, [-1, 2, 1, -1, -1])
    opened.network = otherwise(whole, lambda past: call(past).where(past[:, :1] != 0, torch.nan))
    with pytest.raises(InputError, match=r"differs by up to \d+ dBZ"):  # what is no number is dry
        difference(trained, opened, [-1, 2, 1, -1, -1])


def otherwise(network: Any, call: Any) -> ExportedNetwork:
    """An exported network with another graph."""
    return ExportedNetwork(call, network.shape, network.multiple, network.output)


class Opens:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def changed(path: Path, to: Path, place: str, change: Any) -> Path:
    """A copy of an archive in which the content of some files is another."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(to, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, change(content) if place in name else content)
        if place.startswith("+"):
            after.writestr(f"{before.namelist()[0].split('/')[0]}/{place[1:]}", change(b""))
    return to


def test_a_file_that_holds_code_is_not_loaded(exported: tuple[Trained, Path], tmp_path: Path) -> None:
    _, path = exported
    mark = tmp_path / "executed"
    torch.save(Opens(mark), tmp_path / "inputs")
    hidden = (tmp_path / "inputs").read_bytes()
    call = f"__import__('pathlib').Path({str(mark)!r}).touch()"

    def evaluated(content: bytes) -> bytes:
        graph = json.loads(content)
        symbols = [entry for entry in find(graph) if "expr_str" in entry]
        assert symbols
        for entry in symbols:
            entry["expr_str"] = call
        return json.dumps(graph).encode()

    def pickled(content: bytes) -> bytes:
        config = json.loads(content)
        for entry in find(config):
            if "use_pickle" in entry:
                entry["use_pickle"] = True
        return json.dumps(config).encode()

    def guarded(content: bytes) -> bytes:
        graph = json.loads(content)
        graph["guards_code"] = [call]
        return json.dumps(graph).encode()

    def named(content: bytes) -> bytes:
        return content.replace(b'"past"', json.dumps(f"past={call}").encode())

    def called(content: bytes) -> bytes:
        graph = json.loads(content)
        next(entry for entry in find(graph) if "inputs" in entry)["target"] = "torch.hub.load"
        return json.dumps(graph).encode()

    attacks: dict[str, tuple[str, Any, str]] = {
        "inputs": ("data/sample_inputs/", lambda content: hidden, "holds an object"),
        "sizes": ("models/", evaluated, "has the text .*__import__"),
        "guards": ("models/", guarded, "has the text .*__import__"),
        "names": ("models/", named, "has the text .*past=__import__"),
        "calls": ("models/", called, "calls 'torch.hub.load'"),
        "weights": ("weights_config.json", pickled, "names pickled objects"),
        "constant": ("+data/constants/opaque_obj_0", lambda content: pickle.dumps(Opens(mark)), "is an object"),
    }
    for name, (place, change, said) in attacks.items():
        bad = changed(path, tmp_path / f"{name}.pt2", place, change)
        with pytest.raises(InputError, match=said):
            Exported.open(bad)
        assert not mark.exists()


def find(tree: Any) -> list[dict[str, Any]]:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [*([tree] if isinstance(tree, dict) else []), *(entry for one in inner for entry in find(one))]


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    for ending in (".pt2", ".onnx"):
        with pytest.raises(InputError, match="does not exist"):
            Exported.open(tmp_path / f"missing{ending}")
        (tmp_path / f"text{ending}").write_text("no network")
        with pytest.raises(InputError, match=r"text\.(pt2|onnx) cannot be read as"):
            Exported.open(tmp_path / f"text{ending}")
    torch.export.save(torch.export.export(Sized(), (torch.rand(1, 2, 1, 8, 8),)), tmp_path / "foreign.pt2")
    with pytest.raises(InputError, match="is no network exported by nowcast"):
        Exported.open(tmp_path / "foreign.pt2")


def test_metadata_travel_within_the_file(exported: tuple[Trained, Path]) -> None:
    extra = {METADATA: ""}
    torch.export.load(exported[1], extra_files=extra)
    facts = json.loads(extra[METADATA])
    assert facts["scaling"] == scaling.NAME
    assert facts["facts"]["step_s"] == 300
    assert facts["digest"] == "digest"


def test_programs_export_and_forecast_with_the_export(folder: Path, archive_path: Path, tmp_path: Path) -> None:
    got = run("nowcast.train", "--config", folder / "tiny.yaml", "--run", tmp_path / "run", "--test", "false")
    assert got.returncode == 0, got.stderr
    got = run("nowcast.export", "--checkpoint", tmp_path / "run", "--output", tmp_path / "n.pt2")
    assert got.returncode == 0, got.stderr
    assert "torch-export, fixed frames" in got.stdout
    files = {}
    for checkpoint in ("run", "n.pt2"):
        output = tmp_path / f"{checkpoint}.nc"
        got = run(
            "nowcast.forecast", "--checkpoint", tmp_path / checkpoint, "--input", archive_path, "--minutes", 10,
            "--init", "last", "--output", output,
        )  # fmt: skip
        assert got.returncode == 0, got.stderr
        files[checkpoint] = ForecastFile.open(output)
    np.testing.assert_allclose(files["n.pt2"].read(0), files["run"].read(0), atol=0.0101)
    assert files["n.pt2"].attrs["exported"] == "torch-export"
    assert files["n.pt2"].attrs["checkpoint_sha256"] == files["run"].attrs["checkpoint_sha256"]
    wrong = run("nowcast.export", "--checkpoint", tmp_path / "run", "--output", tmp_path / "n.pt2", "--format", "onnx")
    assert wrong.returncode == 2
    assert "must end in .pt2 for --format torch-export or .onnx" in wrong.stderr


class Normed(nn.Module):
    """A group norm of the past, channels-last as networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = GroupNorm(2, 8)

    def forward(self, past: torch.Tensor) -> torch.Tensor:
        return self.norm(past.flatten(1, 2)).unflatten(1, (8, 1))[:, :1]


def test_onnx_norms_large_dry_fields_precisely(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    trained = as_trained(Normed(), past_frames=8)
    export(trained, tmp_path / "n.onnx")
    torch.manual_seed(1)
    past = 0.3 + (torch.rand(1, 8, 1, 640, 704) < 0.1) * torch.rand(1, 8, 1, 640, 704) * 2
    with torch.no_grad():
        wanted = trained.network.double()(past.double())
        got = nowcast.load(tmp_path / "n.onnx").network(past)
    assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max()
