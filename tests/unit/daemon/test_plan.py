"""What a coordinator is configured with: every mistake named before anything is started."""

import json
import os
import sys
from pathlib import Path

import pytest

from coordinator.daemon.plan import ServicePlan
from coordinator.local import keyfile
from coordinator.protocol.canonical import canonical_json
from coordinator.protocol.commitments.documents import rule_document
from coordinator.protocol.errors import ConfigError, KeyFileError
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.settings.agreement import FederationAgreement

MANIFEST = Manifest((TensorSpec("w", (3, 4), "float32"),))
COORDINATOR = """
[account]
key = "key.json"
password_file = "password"

[flower]
{flower}

[round]
{round}
"""


def rule_json(**changes: object) -> dict:
    from coordinator.protocol.types import Rule

    fields = {
        "version": 1,
        "kind": 3,
        "weighting": 2,
        "num_byzantine": 2,
        "examples_cap": 100,
        "server_lr_q16": 1 << 16,
        "server_momentum_q16": 0,
        "manifest_hash": MANIFEST.digest(),
        "dimension": 12,
        "chunk_values": 256,
        "scale_bits": 20,
        "min_contributors": 2,
        "norm_bound_q": 0,
        "scoring_hash": bytes(32),
    }
    return dict(rule_document(Rule(**{**fields, **changes})))  # type: ignore[arg-type]


def write(folder: Path, flower: str = "insecure = true", rounds: str = "") -> Path:
    agreement = FederationAgreement(
        name="plan",
        chain_id=1337,
        contract="0x" + "11" * 20,
        initial_model_root="00" * 32,
        manifest=json.loads(MANIFEST.to_json()),
        rule=rule_json(),
        scoring={"kind": "examples"},
        round_duration_s=60,
    )
    (folder / "federation.json").write_bytes(agreement.canonical_json())
    path = folder / "coordinator.toml"
    path.write_text(COORDINATOR.format(flower=flower, round=rounds))
    return path


class Terms:
    min_stake_wei = 10**18
    min_open_s = 3


def test_a_plan_says_where_when_and_what(tmp_path: Path):
    plan = ServicePlan.read(write(tmp_path, "insecure = true\nport = 4711", "rounds = 7"))
    assert plan.state == tmp_path / "state"
    settings = plan.engine_settings()
    assert (settings.address, settings.local_address) == ("127.0.0.1:4711", "127.0.0.1:4711")
    assert (settings.ca, settings.vector_bytes) == (None, 48)
    pace = plan.pace(Terms())
    assert (pace.rounds, pace.min_online, pace.min_open_s) == (7, 5, 3)  # 2f + 1 of f = 2
    limits = plan.federation_plan(Terms()).limits
    assert (limits.max_bytes, limits.min_stake_wei) == (48, 10**18)


def test_more_contributors_may_be_waited_for_but_not_fewer_than_the_rule_asks(tmp_path: Path):
    for asked, waited_for in ((0, 5), (3, 5), (8, 8)):
        plan = ServicePlan.read(write(tmp_path, rounds=f"min_online = {asked}"))
        assert plan.pace(Terms()).min_online == waited_for


@pytest.mark.parametrize(
    ("flower", "message"),
    [
        ("", r"flower\.ca, flower\.certificate, flower\.key: not given"),
        ('insecure = true\nhost = "0.0.0.0"', "only listen on a loopback address"),
        ('ca = "ca.crt"', r"flower\.certificate, flower\.key: not given"),
        (
            'ca = "ca.crt"\ncertificate = "no.crt"\nkey = "no.key"',
            r"flower\.certificate: .*no\.crt",
        ),
    ],
)
def test_a_superlink_is_not_open_to_others_without_tls(tmp_path: Path, flower: str, message: str):
    (tmp_path / "ca.crt").write_text("")
    plan = ServicePlan.read(write(tmp_path, flower))
    with pytest.raises(ConfigError, match=message):
        plan.engine_settings()


def test_with_tls_it_may_listen_anywhere(tmp_path: Path):
    for name in ("ca.crt", "s.crt", "s.key"):
        (tmp_path / name).write_text("")
    flower = 'host = "0.0.0.0"\nport = 9\nca = "ca.crt"\ncertificate = "s.crt"\nkey = "s.key"'
    settings = ServicePlan.read(write(tmp_path, flower)).engine_settings()
    assert (settings.address, settings.local_address) == ("0.0.0.0:9", "127.0.0.1:9")
    assert (settings.ca, settings.key) == (tmp_path / "ca.crt", tmp_path / "s.key")


OUTSIDE = """
from fedproof import AggregationRule, weighted_mean
MINE = AggregationRule(
    number=1, name="mine", aggregate=lambda given: weighted_mean(given.updates, given.weights),
    fewest=lambda f: 1, bound="f = 0", withstands_byzantine=False,
)
"""


def test_a_rule_from_outside_is_loaded_if_the_settings_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from coordinator.protocol.rules.chosen import choose
    from coordinator.protocol.types import DefinedRule

    (tmp_path / "plan_rules.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    mine = choose("plan_rules:MINE", {})
    config = write(tmp_path)
    agreement = json.loads((tmp_path / "federation.json").read_text())
    plain = {**agreement["rule"], "manifest_hash": MANIFEST.digest(), "scoring_hash": bytes(32)}
    fields = {**plain, "kind": mine.kind, "num_byzantine": 0}
    rule = DefinedRule(**fields, definition=mine.definition)
    agreement["rule"] = rule_document(rule)
    (tmp_path / "federation.json").write_bytes(canonical_json(agreement))
    del sys.modules["plan_rules"]
    with pytest.raises(ConfigError, match="kind is plan_rules:MINE") as no:
        ServicePlan.read(config)
    assert "coordinator.toml: extensions" in str(no.value)
    config.write_text('extensions = ["plan_rules:MINE"]\n' + config.read_text())
    assert ServicePlan.read(config).pace(Terms()).min_online == 2  # type: ignore[arg-type]
    config.write_text(config.read_text().replace("plan_rules:MINE", "plan_rules:HIS"))
    with pytest.raises(ConfigError, match=r"extensions: .*has no \"HIS\""):
        ServicePlan.read(config)


def test_a_margin_longer_than_the_round_is_refused(tmp_path: Path):
    plan = ServicePlan.read(write(tmp_path, rounds="seal_margin_s = 60"))
    with pytest.raises(ConfigError, match=r"seal_margin_s = 60 must be less than .*= 60"):
        plan.pace(Terms())


def test_the_key_is_opened_once_and_the_password_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = ServicePlan.read(write(tmp_path))
    created = keyfile.create(tmp_path / "key.json", "secret")
    with pytest.raises(KeyFileError, match="password"):
        plan.open_account()
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    monkeypatch.setenv(keyfile.PASSWORD_VARIABLE, "left over")
    assert plan.open_account().address == created.address
    assert keyfile.PASSWORD_VARIABLE not in os.environ
