"""The three files operators write, and the agreement: mistakes are one line that names the key."""

import json

import numpy as np
import pytest

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.settings.agreement import FederationAgreement, agreement_from
from coordinator.settings.coordinator import load_coordinator
from coordinator.settings.evaluation import Evaluation
from coordinator.settings.founding import load_founding
from coordinator.settings.learning import Training
from coordinator.settings.participant import load_participant

FOUNDING = 'name = "hearts"\n[input]\nshape = [13]\nclasses = 2\n'
COORDINATOR = '[account]\nkey = "k.json"\n'
PARTICIPANT = (
    '[account]\nkey = "k.json"\n[coordinator]\nrpc = "https://a/rpc"\n'
    'store = "https://a"\nsuperlink = "a:9092"\n'
)
LOADERS = {
    "founding": (load_founding, FOUNDING),
    "coordinator": (load_coordinator, COORDINATOR),
    "participant": (load_participant, PARTICIPANT),
}


def load(tmp_path, which, extra=""):
    loader, text = LOADERS[which]
    path = tmp_path / f"{which}.toml"
    path.write_text(text + extra)
    return loader(path)


@pytest.mark.parametrize("which", LOADERS)
def test_the_least_that_is_needed_is_enough(tmp_path, which):
    assert load(tmp_path, which).format.endswith("-1")


@pytest.mark.parametrize(
    ("which", "extra", "named"),
    [
        ("founding", "[round]\ndurations = 3\n", 'unknown key "round.durations"'),
        ("founding", '[[participants]]\nnam = "a"\n', 'key "participants.0.name" is missing'),
        ("founding", "[windows]\nanswer_s = 80000\n", "at most a fifth of"),
        ("founding", "[windows]\nunbonding_s = 100\nanswer_s = 1\n", "must be at least"),
        ("founding", '[scoring]\nkind = "leave_one_out"\n', "needs evaluation_data"),
        ("founding", '[aggregator]\nkind = "trimmed_mean"\nnum_byzantine = "2"\n', "an integer"),
        ("founding", '[training]\noptimizer = "adan"\n', 'training.optimizer = "adan": expected'),
        (
            "founding",
            "[training]\noptions = {x = 1}\n",
            "training.options.x: sgd has no such option",
        ),
        ("founding", "[config]\nserver-round = 3\n", "expected another name; the service sets"),
        ("founding", "[config]\nfedproof-token = 'x'\n", "expected another name; the service sets"),
        ("founding", "[config]\nlr = [1]\n", "config.lr"),
        ("founding", '[training]\nloss = "hinge"\n', 'training.loss = "hinge": expected one of'),
        ("founding", '[training]\nschedule = "step"\n', 'training.schedule = "step": expected one'),
        ("founding", '[features]\nnames = ["a"]\n', "1 names, 0 means and 0 scales"),
        ("founding", "[evaluation]\ntest_share = 1.0\n", "evaluation.test_share = 1.0: expected"),
        ("founding", "[evaluation]\nevery = 0\n", "evaluation.every = 0: expected at least 1"),
        ("founding", "[evaluation]\nshare = 0.1\n", 'unknown key "evaluation.share"'),
        ("coordinator", "[round]\nevaluation_s = 0\n", "round.evaluation_s"),
        ("coordinator", "[http]\nport = 70000\n", "http.port = 70000: expected at most 65535"),
        ("coordinator", '[chain]\nrpc = "localhost"\n', 'chain.rpc = "localhost": expected text'),
        ("participant", '[data]\nkind = "csw"\n', 'data.kind = "csw": expected'),
        ("participant", '[data]\npth = "x"\n', 'key "data.path" is missing'),
        ("participant", '[data]\nkind = "python"\nfunction = "rm -rf"\n', "data.function"),
    ],
)
def test_a_mistake_is_named(tmp_path, which, extra, named):
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, which, extra)
    assert named in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_two_participants_of_one_name(tmp_path):
    with pytest.raises(ConfigError, match=r'participants\.1\.name = "a" is there twice'):
        load(tmp_path, "founding", '[[participants]]\nname = "a"\n' * 2)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_participant(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"{", "not JSON"),
        (b"[" * 200_000, "nested"),
        (b"[]", "expected a JSON object, found list"),
        (b"{}", 'key "name" is missing'),
    ],
)
def test_an_agreement_that_is_none(data, named):
    with pytest.raises(ConfigError, match=named):
        agreement_from(data, "federation.json")


def test_an_agreement_with_a_broken_manifest():
    digest, address = "00" * 32, "0x" + "11" * 20
    raw = {
        "name": "x", "chain_id": 1, "contract": address, "initial_model_root": digest,
        "manifest": {}, "rule": {}, "scoring": {}, "round_duration_s": 1,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"federation\.json: manifest: "):
        agreement_from(json.dumps(raw).encode(), "federation.json")


def agreed(training, **more):
    digest, address = "00" * 32, "0x" + "11" * 20
    manifest = Manifest.of({"w": np.zeros(3, np.float32)})
    return FederationAgreement(
        name="x",
        chain_id=1,
        contract=address,
        initial_model_root=digest,
        manifest=json.loads(manifest.to_json()),
        rule={},
        scoring={},
        training=training,
        round_duration_s=1,
        **more,
    )


def test_plain_sgd_is_agreed_in_the_words_it_always_had():
    """The chain binds the digest: agreements from before other optimisers stay what they are."""
    fields = json.loads(agreed(Training(momentum=0.5)).canonical_json())["training"]
    assert fields == {
        "epochs": 1, "batch_size": 16, "learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.0,
        "max_steps": 0,
    }  # fmt: skip


def test_another_optimiser_is_agreed_with_its_options():
    training = Training(optimizer="adam", options={"betas": [0.5, 0.75], "amsgrad": True})
    fields = json.loads(agreed(training).canonical_json())["training"]
    assert (fields["optimizer"], fields["options"]) == (
        "adam",
        {"betas": [0.5, 0.75], "amsgrad": True},
    )
    assert Training.model_validate(fields) == training
    assert agreed(training).digest != agreed(Training(optimizer="adam")).digest
    assert agreed(Training(optimizer="adam")).digest != agreed(Training()).digest


def test_an_agreement_without_evaluation_has_the_bytes_it_always_had():
    """The chain binds the digest: agreements from before evaluation stay what they are."""
    plain = agreed(Training())
    assert "evaluation" not in json.loads(plain.canonical_json())
    assert plain.digest.hex() == (
        "8b111ff06aa8617a433d7f8a1ce0cb73b4a191bb3fdbfca143438b572a07c740"
    )


def test_an_evaluation_is_agreed_on():
    evaluation = Evaluation(every=3, test_share=0.25)
    with_it = agreed(Training(), evaluation=evaluation)
    assert json.loads(with_it.canonical_json())["evaluation"] == {"every": 3, "test_share": 0.25}
    assert FederationAgreement.model_validate_json(with_it.canonical_json()) == with_it
    assert with_it.digest != agreed(Training()).digest
    assert with_it.digest != agreed(Training(), evaluation=Evaluation(every=3)).digest


def test_what_apps_are_told_is_agreed_on_and_left_out_where_it_is_nothing():
    assert "config" not in json.loads(agreed(Training()).canonical_json())
    told = agreed(Training(), config={"lr": 0.5, "epochs": 3})
    assert json.loads(told.canonical_json())["config"] == {"lr": 0.5, "epochs": 3}
    assert told.digest != agreed(Training(), config={"lr": 0.5, "epochs": 2}).digest
    assert FederationAgreement.model_validate_json(told.canonical_json()) == told


def test_when_an_evaluation_is_due():
    third = Evaluation(every=3)
    due = [height for height in range(9) if third.is_due(height, is_last=False)]
    assert due == [3, 6]
    assert third.is_due(7, is_last=True)
    assert not third.is_due(0, is_last=True)
