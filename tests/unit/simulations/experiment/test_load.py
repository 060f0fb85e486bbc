import hashlib
import json
from pathlib import Path

import pytest

from coordinator.protocol.errors import ConfigError
from coordinator.settings.rules import aggregator_section
from simulations.experiment import CnnModel, MlpModel
from simulations.experiment.load import experiment_from_json, load_experiment, shipped_experiments
from simulations.partitions.dirichlet import DirichletPartition
from simulations.partitions.iid import IidPartition

ETHER = 10**18


def refusal(experiment, text="", *overrides):
    """The message of the ConfigError, without the path of the temporary file."""
    with pytest.raises(ConfigError) as caught:
        experiment(text, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message[message.index("experiment.toml") :] if "experiment.toml" in message else message


def test_five_lines_are_enough(experiment):
    found = experiment('name = "tiny"\nrounds = 3\n[partition]\nkind = "iid"\nclients = 4\n')
    assert (found.name, found.rounds, found.partition.clients) == ("tiny", 3, 4)
    assert found.data.kind == "digits"
    assert found.model == MlpModel(hidden=[64])
    assert found.cohort.size == 4
    assert found.cohort.min_contributors == 1
    assert found.rewards.pool_wei == 3 * ETHER


def test_an_empty_file_is_valid(experiment):
    found = experiment("")
    assert (found.seed, found.rounds, found.partition) == (1, 5, IidPartition(clients=10))


def test_a_kind_may_be_left_out(experiment):
    assert experiment("[partition]\nclients = 3").partition == IidPartition(clients=3)


def test_the_kind_selects_the_options(experiment):
    found = experiment('[partition]\nkind = "dirichlet"\nalpha = 1\n[model]\nkind = "cnn"')
    assert found.partition == DirichletPartition(alpha=1.0)
    assert isinstance(found.partition.alpha, float)
    assert found.model == CnnModel(channels=[8, 16])


def test_a_fault_bound_sets_the_fewest_contributors(experiment):
    found = experiment('[aggregator]\nkind = "trimmed_mean"\nnum_byzantine = 2')
    assert found.aggregator == aggregator_section("trimmed_mean", num_byzantine=2)
    assert found.cohort.min_contributors == 5


@pytest.mark.parametrize(
    ("text", "wei"),
    [
        ("7", 7),
        ('"7"', 7),
        ('"7 wei"', 7),
        ('"5 gwei"', 5 * 10**9),
        ('"10 ether"', 10 * ETHER),
        ('"0.25 ether"', ETHER // 4),
        ('"1_000 Ether"', 1000 * ETHER),
    ],
)
def test_money_is_read_exactly(experiment, text, wei):
    assert experiment(f"[stake]\nminimum_wei = {text}").stake.minimum_wei == wei


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '"ten ether"',
            '"ten ether": expected integer wei or text like "10 ether", "5 gwei" or "1000 wei"',
        ),
        (
            '"1 dollar"',
            '"1 dollar": expected integer wei or text like "10 ether", "5 gwei" or "1000 wei"',
        ),
        ('"0.5 wei"', '"0.5 wei": expected a whole number of wei'),
        ("0", "0: expected at least 1"),
        ("-1", "-1: expected at least 1"),
        ("1.0", "1.0: expected an integer"),
        ("true", "true: expected an integer"),
        ('"1000000000000 ether"', f"{10**30}: expected at most {2**96 - 1}"),
    ],
)
def test_money_that_is_none_is_refused(experiment, text, message):
    found = refusal(experiment, f"[stake]\nminimum_wei = {text}")
    assert found == f"experiment.toml: stake.minimum_wei = {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roundz = 3", 'unknown key "roundz"; did you mean "rounds"?'),
        ("[training]\nepoch = 1", 'unknown key "training.epoch"; did you mean "epochs"?'),
        (
            "[evaluation]\nxyz = 1",
            'unknown key "evaluation.xyz"; known keys: every',
        ),
        (
            "[partition]\nalpha = 0.1",
            'unknown key "partition.alpha"; it belongs to partition.kind = "dirichlet", not "iid"',
        ),
        (
            '[[behaviours]]\nkind = "replay"\nclients = [1]\nscale = 2.0',
            'unknown key "behaviours.0.scale"; it belongs to behaviours.kind = "noise" or '
            '"sign_flip", not "replay"',
        ),
        (
            '[partition]\nkind = "dirichle"',
            'partition.kind = "dirichle": expected "by_site" or "dirichlet" or "iid", '
            'or "module:NAME" for one of your own; did you mean "dirichlet"?',
        ),
        (
            "[model]\nkind = 3",
            'model.kind = "3": expected "cnn" or "logistic" or "mlp" or "python" or "safetensors", '
            'or "module:NAME" for one of your own',
        ),
        ("[[behaviours]]\nclients = [1]", 'key "behaviours.0.kind" is missing'),
        (
            '[[behaviours]]\nkind = "noise"',
            'key "behaviours.0.clients" is missing; behaviours.kind = "noise" needs it',
        ),
        (
            '[data]\nkind = "hub"',
            'key "data.dataset" is missing; data.kind = "hub" needs it',
        ),
        ('rounds = "many"', 'rounds = "many": expected an integer'),
        ("rounds = 3.0", "rounds = 3.0: expected an integer"),
        ("rounds = true", "rounds = true: expected an integer"),
        ("rounds = 0", "rounds = 0: expected at least 1"),
        ("rounds = {}", "rounds = a table: expected an integer"),
        ("model = 3", "model = 3: expected a table"),
        ("behaviours = 3", "behaviours = 3: expected a list"),
        ("[model]\nhidden = []", "model.hidden = []: expected at least this many entries: 1"),
        ("[model]\nhidden = [8, 0]", "model.hidden.1 = 0: expected at least 1"),
        ("[training]\nmomentum = nan", "training.momentum = nan: expected a finite number"),
        ("[training]\nlearning_rate = 0", "training.learning_rate = 0: expected more than 0.0"),
        ("[training]\nmomentum = 1.0", "training.momentum = 1.0: expected less than 1.0"),
        (
            'metrics = ["f_1"]',
            'metrics.0.kind = "f_1": expected "auc" or "balanced_accuracy" or "class_accuracy" or '
            '"f1", or "module:NAME" for one of your own; did you mean "f1"?',
        ),
        ("metrics = [1]", "metrics.0 = 1: expected a name, or a table with its kind"),
        ('metrics = "f1"', 'metrics = "f1": expected a list'),
        (
            '[[metrics]]\nkind = "f1"\naverage = "micro"',
            'metrics.0.average = "micro": expected "macro" or "weighted"',
        ),
        (
            '[[metrics]]\nkind = "f1"\naverages = "macro"',
            'unknown key "metrics.0.averages"; did you mean "average"?',
        ),
        (
            'metrics = ["no_such_module:Recall"]',
            'metrics.0.kind: metric "no_such_module:Recall": module no_such_module cannot be '
            "imported: No module named 'no_such_module'"
            "; its folder has to be on the import path (PYTHONPATH=FOLDER)",
        ),
        (
            'metrics = ["auc", "f1", "auc"]',
            'metrics[2] and metrics[0] are both recorded as "auc"; expected a name of its own for '
            'one, as in {kind = "auc", name = "..."}',
        ),
        (
            'metrics = [{kind = "auc", name = "mine"}, {kind = "f1", name = "mine"}]',
            'metrics[1] and metrics[0] are both recorded as "mine"; expected a name of its own for '
            'one, as in {kind = "f1", name = "..."}',
        ),
        (
            '[[metrics]]\nkind = "f1"\nname = "f1.macro"',
            'metrics.0.name = "f1.macro": expected text like ^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$',
        ),
        (
            '[[metrics]]\nkind = "f1"\nname = 1',
            "metrics.0.name = 1: expected text in quotes",
        ),
        ("[numbers]\nchunk_values = 12", "numbers.chunk_values = 12: expected a multiple of 8"),
        (
            "[stake]\ncontributor_slash_bps = 10_001",
            "stake.contributor_slash_bps = 10001: expected at most 10000",
        ),
        (
            '[aggregator]\nweighting = "stake"',
            'aggregator.weighting = "stake": expected "examples" or "uniform"',
        ),
        ('name = "a b"', 'name = "a b": expected text like ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
        ("seed = -1", "seed = -1: expected at least 0"),
        ("rounds = 0\nseed = -1\nx = 1", "seed = -1: expected at least 0 (and 2 more)"),
    ],
)
def test_a_wrong_key_or_value_is_named(experiment, text, message):
    assert refusal(experiment, text) == f"experiment.toml: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[training]\noptimizer = "adan"',
            'training.optimizer = "adan": expected one of adadelta, adafactor, adagrad, adam, ',
        ),
        (
            '[training]\noptimizer = "Adam"',
            'training.optimizer = "Adam": expected text like ^[a-z0-9]+$',
        ),
        (
            '[training]\noptimizer = "adam"\noptions = { betaz = [0.5, 0.9] }',
            "training.options.betaz: adam has no such option; it has amsgrad, betas, ",
        ),
        (
            "[training]\noptions = { lr = 0.5 }",
            "training.options.lr: expected training.learning_rate instead",
        ),
        (
            "[training]\noptions = { nesterov = true }",
            'training.optimizer = "sgd": refused by torch: Nesterov momentum requires a momentum',
        ),
        (
            "[training]\noptions = { dampening = [[1]] }",
            "training.options.dampening = [[1]]: expected a number, text, true, false or a list",
        ),
        (
            '[training]\noptimizer = "adam"\noptions = { betas = [0.5] }',
            'training.optimizer = "adam": refused by torch: tuple index out of range',
        ),
        (
            '[training]\noptimizer = "adam"\nmomentum = 0.5',
            "training.momentum = 0.5: adam has no such option",
        ),
        (
            '[training]\noptimizer = "sparseadam"',
            'training.optimizer = "sparseadam": refused by torch: SparseAdam does not support',
        ),
    ],
)
def test_a_wrong_optimizer_is_named(experiment, text, message):
    """What follows is torch's own list or words, which its versions change."""
    assert refusal(experiment, text).startswith(f"experiment.toml: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cohort]\nsize = 11", "cohort.size = 11 is more than partition.clients = 10"),
        (
            "[cohort]\nsize = 4\nmin_contributors = 5",
            "cohort.min_contributors = 5 is more than cohort.size = 4",
        ),
        (
            '[aggregator]\nkind = "trimmed_mean"\nnum_byzantine = 5',
            "aggregator.num_byzantine = 5 needs cohort.size of at least 11 (2f < n), found 10",
        ),
        (
            "[aggregator]\nkind = 'trimmed_mean'\nnum_byzantine=2\n[cohort]\nmin_contributors=4",
            "cohort.min_contributors = 4 is below the 5 that aggregator.num_byzantine = 2 needs "
            "(2f < n)",
        ),
        (
            '[partition]\nkind = "by_site"',
            'partition.kind = "by_site" needs sites, but data.kind = "digits" has none',
        ),
        (
            '[partition]\nkind = "by_site"\n[data]\nkind = "heart_disease"\nsites = ["va"]',
            'partition.clients = 4, but data.sites names 1 (partition.kind = "by_site" makes each '
            "site one client)",
        ),
        (
            '[data]\nkind = "heart_disease"\nsites = ["va", "va"]',
            "data.sites names a hospital twice: va, va",
        ),
        (
            '[partition]\nkind = "by_site"\n[data]\nkind = "hub"\ndataset = "x"',
            'partition.kind = "by_site" needs data.site, the column that names the site',
        ),
        (
            '[model]\nkind = "cnn"\n[data]\nkind = "breast_cancer"',
            'model.kind = "cnn" needs images, but data.kind = "breast_cancer" has none',
        ),
        (
            "[rewards]\npool_wei = 9\nround_budget_wei = 2",
            "rewards.pool_wei = 9 does not cover rounds = 5 times rewards.round_budget_wei = 2, "
            "which is 10",
        ),
        (
            "[chain]\nmin_open_s = 10\nround_deadline_s = 10",
            "chain.min_open_s = 10 must be less than chain.round_deadline_s = 10",
        ),
        (
            "[chain]\nunbonding_s = 3659",
            "chain.unbonding_s = 3659 must be at least chain.round_deadline_s + "
            "chain.challenge_window_s = 3660, or a bond could leave before its offence is proven",
        ),
        (
            '[[behaviours]]\nkind = "replay"\nclients = [10]',
            "behaviours[0].clients names client 10, but partition.clients = 10 numbers them 0 to 9",
        ),
        (
            '[[behaviours]]\nkind = "replay"\nclients = [1]\n'
            '[[behaviours]]\nkind = "nan"\nclients = [2, 1]',
            "behaviours[1].clients and behaviours[0].clients both name client 1; a client has one "
            "behaviour",
        ),
        (
            '[[behaviours]]\nkind = "replay"\nclients = [1]\nfrom_round = 6',
            "behaviours[0].from_round = 6 is after the last of rounds = 5",
        ),
    ],
)
def test_a_contradiction_names_both_keys(experiment, text, message):
    assert refusal(experiment, text) == f"experiment.toml: {message}"


@pytest.mark.parametrize(
    "text",
    [
        "[cohort]\nsize = 10\nmin_contributors = 10",
        '[aggregator]\nkind = "trimmed_mean"\nnum_byzantine = 4',
        "[partition]\nkind='by_site'\nclients=1\n[data]\nkind='heart_disease'\nsites=['va']",
        "[partition]\nkind='by_site'\nclients=7\n[data]\nkind='hub'\ndataset='x'\nsite='s'",
        "[rewards]\npool_wei = 10\nround_budget_wei = 2",
        "[chain]\nunbonding_s = 3660",
        '[[behaviours]]\nkind = "unbonded"\nclients = [9]',
        '[[behaviours]]\nkind = "replay"\nclients = [1]\nfrom_round = 5',
    ],
)
def test_at_the_limit_is_allowed(experiment, text):
    assert experiment(text).rounds == 5


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("rounds = 3\nx = [", "line 2, column 6"),
        ("rounds = 3\nrounds = 4\nseed = 1\n", "line 2, column 11"),
        ("rounds == 3\n", "line 1, column 9"),
    ],
)
def test_malformed_toml_is_placed(experiment, text, place):
    message = refusal(experiment, text)
    assert message.startswith("experiment.toml: malformed TOML: ")
    assert place in message


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match=r"x\.toml: byte 8 is not UTF-8"):
        load_experiment(tmp_path / "x.toml")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_experiment(tmp_path)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(ConfigError) as caught:
        load_experiment("quikstart")
    assert str(caught.value) == (
        "experiment quikstart: no such file, and not one of the shipped experiments "
        f'({", ".join(shipped_experiments())}); did you mean "quickstart"?'
    )


def test_overrides_win_in_order_and_the_seed_last(experiment):
    found = experiment(
        "rounds = 3\n[model]\nkind='mlp'\nhidden=[8]",
        "rounds=4",
        "rounds = 6",
        "seed=8",
        "model.hidden=[16, 4]",
        "name=plain-text",
        'stake.minimum_wei="2 gwei"',
        "rewards.round_budget_wei=3 gwei",
        'partition={kind="dirichlet", clients=5}',
        seed=9,
    )
    assert (found.rounds, found.seed, found.name) == (6, 9, "plain-text")
    assert found.model == MlpModel(hidden=[16, 4])
    assert found.stake.minimum_wei == 2 * 10**9
    assert found.rewards.round_budget_wei == 3 * 10**9
    assert found.partition == DirichletPartition(clients=5)


def test_an_override_reaches_into_a_list(experiment):
    text = "[[behaviours]]\nkind = 'noise'\nclients = [1]"
    found = experiment(text, "behaviours.0.scale=2", "behaviours.0.clients.0=3")
    assert found.behaviours[0].scale == 2.0
    assert found.behaviours[0].clients == [3]


def test_changing_the_kind_drops_what_only_the_former_knew(experiment):
    text = "[partition]\nkind = 'dirichlet'\nclients = 4\nalpha = 0.1\nmin_examples = 3"
    assert experiment(text, "partition.kind=iid").partition == IidPartition(clients=4)
    found = experiment(text, "partition.kind=dirichlet").partition
    assert found == DirichletPartition(clients=4, alpha=0.1, min_examples=3)


@pytest.mark.parametrize(
    "overrides",
    [("partition.alpha=1", "partition.kind=iid"), ("partition.kind=iid", "partition.alpha=1")],
)
def test_an_option_given_with_the_wrong_kind_is_still_refused(experiment, overrides):
    message = refusal(experiment, "[partition]\nkind = 'dirichlet'\nalpha = 2", *overrides)
    assert message == (
        'experiment.toml (--set partition.alpha): unknown key "partition.alpha"; it belongs to '
        'partition.kind = "dirichlet", not "iid"'
    )


def test_a_typo_survives_a_change_of_kind(experiment):
    message = refusal(experiment, "[partition]\nalpah = 2", "partition.kind=iid")
    assert message.startswith('experiment.toml: unknown key "partition.alpah"')


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rounds", "--set rounds: expected key.path=value, e.g. training.epochs=2"),
        ("a..b=1", "--set a..b=1: expected key.path=value, e.g. training.epochs=2"),
        ("rounds.x=1", "--set rounds.x=1: rounds is the value 3, not a table"),
        (
            "behaviours.1.scale=2",
            "--set behaviours.1.scale=2: behaviours.1 must be an index from 0 to 0, found '1'",
        ),
        (
            "training.epochs=0",
            "experiment.toml (--set training.epochs): training.epochs = 0: expected at least 1",
        ),
        ("rounds=x\ny=1", 'experiment.toml (--set rounds): rounds = "x\ny=1": expected an integer'),
    ],
)
def test_a_wrong_override_is_blamed_on_itself(experiment, override, message):
    with pytest.raises(ConfigError) as caught:
        experiment("rounds = 3\n[[behaviours]]\nkind='noise'\nclients=[1]", override)
    assert str(caught.value).endswith(message)


def test_a_wrong_seed_is_refused(experiment):
    with pytest.raises(ConfigError, match=r"\(--set seed\): seed = -4: expected at least 0"):
        experiment("", seed=-4)


def test_canonical_json_reads_back_and_names_the_experiment(experiment):
    found = experiment('[stake]\nminimum_wei = "10 ether"\n[[behaviours]]\nkind="nan"\nclients=[2]')
    data = found.canonical_json()
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert json.loads(data)["stake"]["minimum_wei"] == "10000000000000000000"
    assert json.loads(data)["cohort"] == {"min_contributors": 1, "size": 10}
    assert found.digest == hashlib.sha256(data).digest()
    assert experiment_from_json(data, "config.json") == found


def test_the_digest_is_of_what_is_meant_not_of_how_it_is_written(experiment):
    short = experiment("rounds = 4")
    long = experiment("rounds=4\nseed=1\n[rewards]\npool_wei='4 ether'\n[cohort]\nsize=10")
    assert short.digest == long.digest
    assert short.digest != experiment("rounds = 4", seed=2).digest


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "config.json: not JSON "),
        (b"[]", "config.json: expected a JSON object, found list"),
        (b'{"rounds":0}', "config.json: rounds = 0: expected at least 1"),
        (b'{"format":"fedproof-experiment-2"}', 'expected "fedproof-experiment-1"'),
    ],
)
def test_json_that_is_no_experiment_is_refused(data, message):
    with pytest.raises(ConfigError) as caught:
        experiment_from_json(data, "config.json")
    assert message in str(caught.value)


def test_an_experiment_is_immutable(experiment):
    with pytest.raises(ValueError, match="frozen"):
        experiment("").rounds = 3


@pytest.mark.parametrize("name", shipped_experiments())
def test_a_shipped_experiment_loads_and_bears_its_name(name):
    found = load_experiment(name)
    assert found.name == name
    file = Path(load_experiment.__code__.co_filename).parents[1] / "configs" / f"{name}.toml"
    assert load_experiment(file).digest == found.digest


def test_an_attack_of_another_kind_takes_the_former_ones_options_out(experiment):
    text = "[[coordinator_attacks]]\nround = 2\nkind = 'shift_parameter'\nparameter = 7"
    (attack,) = experiment(text, "coordinator_attacks.0.kind=abandon").coordinator_attacks
    assert (attack.kind, attack.round) == ("abandon", 2)


def test_an_unknown_key_of_an_attack_is_named(experiment):
    text = "[[coordinator_attacks]]\nround = 2\nkind = 'pay_self'\nvictim = 1"
    with pytest.raises(ConfigError, match=r'attacks\.0\.victim"; it belongs'):
        experiment(text)


def test_an_address_may_lack_its_quotes(experiment):
    address = "0x00000000219ab540356cBB839Cbe05303d7705Fa"
    found = experiment("", f"watcher.address={address}").watcher.address
    assert found == address.lower()
    assert experiment(f'[watcher]\naddress = "{address}"').watcher.address == address
    with pytest.raises(ConfigError, match="watcher"):
        experiment("[watcher]\naddress = -1")


@pytest.mark.parametrize("section", ["aggregator", "scoring", "data", "partition"])
def test_an_unknown_kind_of_a_section_may_be_one_of_ones_own(experiment, section):
    text = f'[{section}]\nkind = "none_of_these"'
    assert ', or "module:NAME" for one of your own' in refusal(experiment, text)


@pytest.mark.parametrize("section", ["behaviours", "coordinator_attacks", "metrics"])
def test_an_unknown_kind_of_a_list_may_be_one_of_ones_own(experiment, section):
    text = f'[[{section}]]\nkind = "none_of_these"'
    assert ', or "module:NAME" for one of your own' in refusal(experiment, text)
