"""A benchmark file stands for the entries one would have written out by hand, and says what is wrong with it."""

from pathlib import Path

import pytest

from nowcast import attention
from nowcast.benchmark import parser
from nowcast.benchmarking.plan import Budget, Entries, Plan, expand, folder_name
from nowcast.contracts import InputError
from nowcast.data.splits import Block

CONFIG = "configs/model/se_resunet.yaml"


def plan(*entries: Entries, **options: object) -> Plan:
    return Plan(**{"folder": "unused", "entries": list(entries), "budget": Budget(steps=600)} | options)


def test_lists_of_configs_and_attentions_are_a_cross_product() -> None:
    grid = Entries(config=[CONFIG, "configs/model/ccnet.yaml"], attention=[None, "se", {"name": "axial", "heads": 2}])
    names = [entry.name for entry in expand(plan(grid))]
    assert names == [
        "se_resunet · none",
        "se_resunet · se",
        "se_resunet · axial heads 2",
        "ccnet · none",
        "ccnet · se",
        "ccnet · axial heads 2",
    ]


def test_all_attentions_are_those_that_gate_a_map() -> None:
    entries = expand(plan(Entries(config=CONFIG, attention="all")))
    maps = {name for name in attention.names() if attention.info(name).shape == "BCHW"}
    assert {entry.name.removeprefix("se_resunet · ") for entry in entries} == maps


def test_a_pattern_says_which_stages_have_the_attention() -> None:
    grid = Entries(config=CONFIG, attention=[None, "se"], pattern=[None, "eca", "*"])
    none, se = expand(Plan("runs", [grid], Budget(steps=5)))
    assert '--model.network.init_args.attention=[null, "eca", null]' in none.options
    assert '--model.network.init_args.attention=[null, "eca", "se"]' in se.options
    with pytest.raises(InputError, match="has '\\*' where"):
        expand(Plan("runs", [Entries(config=CONFIG, attention="se", pattern=[None])], Budget(steps=5)))


def test_a_training_is_asked_for_once_with_its_options_budget_and_seeds() -> None:
    one = Entries(config=CONFIG, attention="eca", options={"model.learning_rate": 0.01}, seeds=[3, 4])
    (entry,) = expand(plan(one, training={"trainer.precision": "bf16-mixed"}, budget=Budget(steps=50)))
    assert entry.seeds == (3, 4)
    assert entry.options == (
        "--trainer.precision=bf16-mixed",
        "--model.learning_rate=0.01",
        "--model.network.init_args.attention=eca",
        "--trainer.max_epochs=-1",
        "--trainer.max_steps=50",
    )


def test_products_of_one_network_share_its_training() -> None:
    median, matched = expand(plan(Entries(config=CONFIG, products=["median", "matched"])))
    assert (median.name, matched.name) == ("se_resunet (median)", "se_resunet (matched)")
    assert median.training == matched.training != ""
    assert median.key != matched.key


def test_an_own_budget_and_seeds_come_before_those_of_the_benchmark() -> None:
    own, general = expand(
        plan(
            Entries(config=CONFIG, name="own", budget=Budget(minutes=90.5), seeds=[7]),
            Entries(config=CONFIG),
            seeds=[1, 2],
        )
    )
    assert '--trainer.max_time="00:01:30:30"' in own.options
    assert own.seeds == (7,)
    assert "--trainer.max_steps=600" in general.options
    assert general.seeds == (1, 2)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entries(), "not nothing"),
        (Entries(baseline="persistence", config=CONFIG), "baseline and config"),
        (Entries(baseline="persistance"), "persistence"),
        (Entries(config="configs/model/nothing.yaml"), "nothing.yaml of an entry does not exist"),
        (Entries(checkpoint="runs/nothing"), "runs/nothing of an entry does not exist"),
        (Entries(config=CONFIG, attention=["ce"]), "no attention is called 'ce'"),
        (Entries(config=CONFIG, products=["mode"]), "products are some of median"),  # type: ignore[list-item]
        (Entries(config=CONFIG, budget=Budget(steps=5, minutes=1)), "either steps or minutes"),
        (Entries(config=CONFIG, budget=Budget()), "either steps or minutes"),
        (Entries(config=CONFIG, budget=Budget(steps=0)), "above 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(entry: Entries, message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand(plan(entry))


def test_a_training_without_a_budget_is_refused() -> None:
    with pytest.raises(InputError, match="no budget"):
        expand(plan(Entries(config=CONFIG), budget=None))


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="two entries of the benchmark are called persistence"):
        expand(plan(Entries(baseline=["persistence", "persistence"])))


def test_a_reference_that_is_no_entry_is_refused() -> None:
    entries = [Entries(baseline=["persistence", "sprog"])]
    with pytest.raises(InputError, match=r"'s-prog' is none of the entries, which are persistence, sprog"):
        expand(Plan("runs", entries, reference="s-prog"))
    assert expand(Plan("runs", entries, reference="sprog")) == expand(Plan("runs", entries))


def test_lists_of_a_later_config_take_the_place_of_earlier_ones_of_the_same_length(tmp_path: Path) -> None:
    """Entries and blocks of time, none of which keeps what stood in its place before."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(
        "{folder: f, entries: [{config: a.yaml, attention: se, products: [matched]}], data: "
        "{train: [{path: a.nc, end: '2020-01-01'}], val: [b.nc], test: [{path: c.nc, begin: '2020-01-01'}]}}"
    )
    second.write_text("{entries: [{baseline: steps}], data: {train: [{path: d.nc}]}}")
    parse = parser()
    words = [f"--config={first}", f"--config={second}", "--data.test=[{path: e.nc}]"]
    made = parse.instantiate(parse.parse_args(words))
    assert made.entries == (Entries(baseline="steps"),)
    assert made.data.blocks == {"train": (Block("d.nc"),), "val": ("b.nc",), "test": (Block("e.nc"),)}


def test_names_become_folders_that_any_system_can_have() -> None:
    assert folder_name("SE-ResUNet · axial, heads 2 (median)") == "se-resunet-axial-heads-2-median"
    assert folder_name("../../etc") == "etc"
