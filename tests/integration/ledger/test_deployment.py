"""A federation is deployed in seven steps, on any node, whatever interrupts them."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from anvil import running_anvil
from eth_account import Account
from web3 import Web3

from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from contracts.binding.records import Terms
from contracts.binding.referee import Referee
from contracts.binding.rpc import rpc_of
from contracts.binding.transactions import Transactor
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from coordinator.ledger.deployment import (
    Deployment,
    contract_address,
    deploy_federation,
    deployed_at,
)
from coordinator.protocol.errors import ConfigError, LedgerError
from coordinator.protocol.types import Address, Wei
from simulations.experiment.load import load_experiment
from simulations.run.chain import deployment_of, open_chain
from simulations.run.identities import identities_of

ETHER = 10**18
BOSS = Account.from_key((1).to_bytes(32, "big"))
OTHER = Account.from_key((2).to_bytes(32, "big"))
TERMS = Terms(
    coordinator=Address(BOSS.address),
    initial_model_root=b"\x01" * 32,
    config_digest=b"\x02" * 32,
    min_stake_wei=Wei(1_000),
    min_coordinator_bond_wei=Wei(10_000),
    round_budget_wei=Wei(700),
    min_contributors=2,
    min_open_s=5,
    challenge_window_s=50,
    unbonding_period_s=400,
    contributor_slash_bps=3_000,
    coordinator_slash_bps=5_000,
)
PLAN = Deployment(TERMS, Wei(11), 20, Wei(20_000), Wei(7_000))


class Killed(BaseException):
    """Stands for ``kill -9``: nothing of ours catches it."""


@pytest.fixture
def node() -> Iterator[EmbeddedNode]:
    genesis = GenesisConfig(alloc={Address(a.address): Wei(ETHER) for a in (BOSS, OTHER)})
    with EmbeddedNode.create_or_open(None, genesis) as found:
        yield found


def connect(node: EmbeddedNode) -> Web3:
    return Web3(EmbeddedProvider(Dispatcher(node, dev=True)))


def check(w3: Web3) -> None:
    """Everything is there, once, and as it was asked for."""
    federation = deploy_federation(w3, BOSS, PLAN)
    at = deployed_at(Address(BOSS.address))
    assert federation.address == at.federation
    assert federation.terms == TERMS
    head = federation.head()
    assert (head.referee, head.pool_wei, head.last_opened) == (at.referee, 7_000, 0)
    assert federation.account(Address(BOSS.address)).bond_wei == 20_000
    referee = Referee(w3, at.referee)
    assert (referee.settings.deposit_wei, referee.settings.answer_s) == (11, 20)
    assert rpc_of(w3).quantity("eth_getTransactionCount", BOSS.address, "latest") == 7


def test_addresses_follow_from_deployer_and_nonce() -> None:
    # go-ethereum's own test vectors of CreateAddress
    deployer = Address("0x970E8128AB834E8EAC17Ab8E3812F010678CF791")
    expected = {
        0: "0x333c3310824b7c685133f2bedb2ca4b8b4df633d",
        1: "0x8bda78331c916a08481428e4b07c96d3e916d165",
        2: "0xc9ddedf451bc62ce88bf9292afb13df35b670699",
    }
    assert {n: contract_address(deployer, n).lower() for n in expected} == expected


def test_again_changes_nothing(node: EmbeddedNode) -> None:
    deploy_federation(connect(node), BOSS, PLAN)
    done = node.head_number
    assert done == 7
    check(connect(node))
    assert node.head_number == done


@pytest.mark.parametrize("step", range(1, 8))
def test_killed_after_any_step_the_next_start_goes_on(
    node: EmbeddedNode, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, mined = node.mine, []

    def mine_and_die(*args: object, **kwargs: object) -> object:
        mined.append(mine(*args, **kwargs))
        if len(mined) == step:
            raise Killed
        return mined[-1]

    monkeypatch.setattr(node, "mine", mine_and_die)
    with pytest.raises(Killed):
        deploy_federation(connect(node), BOSS, PLAN)
    monkeypatch.undo()
    check(connect(node))
    assert node.head_number == 7


def test_a_bond_that_failed_when_mined_is_bonded_again(node: EmbeddedNode) -> None:
    """Out of gas, say: the transaction is spent, and nothing is bonded."""
    w3 = connect(node)
    with pytest.raises(Killed):
        _until(node, 5, lambda: deploy_federation(w3, BOSS, PLAN))
    transactor = Transactor(rpc_of(w3))
    empty = Call("bond_coordinator", b"\xde\xad\xbe\xef", Wei(0), 100_000, "no such function")
    with pytest.raises(LedgerError, match="reverted"):
        transactor.send(
            transactor.prepare(BOSS, empty, deployed_at(Address(BOSS.address)).federation)
        )
    federation = deploy_federation(w3, BOSS, PLAN)
    assert federation.account(Address(BOSS.address)).bond_wei == 20_000
    assert federation.head().pool_wei == 7_000
    before = node.head_number
    deploy_federation(w3, BOSS, PLAN)
    assert node.head_number == before


def _until(node: EmbeddedNode, blocks: int, work: Callable[[], object]) -> None:
    mine, mined = node.mine, []

    def mine_and_die(*args: object, **kwargs: object) -> object:
        mined.append(mine(*args, **kwargs))
        if len(mined) == blocks:
            raise Killed
        return mined[-1]

    node.mine = mine_and_die  # type: ignore[method-assign]
    try:
        work()
    finally:
        node.mine = mine  # type: ignore[method-assign]


def test_no_pool_is_six_steps(node: EmbeddedNode) -> None:
    federation = deploy_federation(connect(node), BOSS, replace(PLAN, pool_wei=Wei(0)))
    assert (node.head_number, federation.head().pool_wei) == (6, 0)


# --- refusals -----------------------------------------------------------------------------------


def test_too_little_money_is_said_before_anything_is_sent() -> None:
    genesis = GenesisConfig(alloc={Address(BOSS.address): Wei(30_000)})
    with EmbeddedNode.create_or_open(None, genesis) as node:
        with pytest.raises(LedgerError) as refused:
            deploy_federation(connect(node), BOSS, PLAN)
        # 8 M gas four times, 100 k, 200 k and 100 k; at twice 1 gwei and a tip of 1 gwei
        needed = 27_000 + (4 * 8_000_000 + 400_000) * 3 * 10**9
        message = str(refused.value)
        assert BOSS.address in message
        assert f"needs {needed} wei" in message
        assert "found 30000 wei" in message
        assert f"send it {needed - 30_000} wei" in message
        assert node.head_number == 0


def test_an_account_that_was_used_before_is_refused(node: EmbeddedNode) -> None:
    w3 = connect(node)
    transactor = Transactor(rpc_of(w3))
    gift = Call("transfer", b"", Wei(1), 21_000, "gift")
    transactor.send(transactor.prepare(BOSS, gift, Address(OTHER.address)))
    with pytest.raises(LedgerError, match=r"transaction 0 of .* did not deploy the federation"):
        deploy_federation(w3, BOSS, PLAN)


def test_another_key_another_chain_other_terms_are_refused(node: EmbeddedNode) -> None:
    w3 = connect(node)
    with pytest.raises(ConfigError, match=f"that of {OTHER.address}.*is {BOSS.address}"):
        deploy_federation(w3, OTHER, PLAN)
    with pytest.raises(LedgerError, match="chain id is 1337, expected 1"):
        deploy_federation(w3, BOSS, PLAN, chain_id=1)
    assert node.head_number == 0
    deploy_federation(w3, BOSS, PLAN, chain_id=1337)
    changed = replace(PLAN, terms=replace(TERMS, config_digest=b"\x03" * 32))
    with pytest.raises(LedgerError, match=r"config_digest 0202.*expected 0303.*another federation"):
        deploy_federation(w3, BOSS, changed)


# --- other nodes, and the simulator -------------------------------------------------------------


def test_on_anvil_also_when_a_step_is_still_waiting() -> None:
    with running_anvil() as url:
        w3 = Web3(Web3.HTTPProvider(url))
        rpc = rpc_of(w3)
        with pytest.raises(LedgerError, match=f"{BOSS.address} needs .* found 0 wei"):
            deploy_federation(w3, BOSS, PLAN)
        rpc.request("anvil_setBalance", BOSS.address, hex(ETHER))
        # The first step was sent by a process that died before it was mined.
        rpc.request("evm_setAutomine", False)
        impatient = Transactor(rpc, receipt_timeout_s=0)
        first = _first_step(impatient)
        rpc.request("eth_sendRawTransaction", "0x" + first.hex())

        def mine() -> None:
            rpc_of(Web3(Web3.HTTPProvider(url))).request("evm_setAutomine", True)
            rpc_of(Web3(Web3.HTTPProvider(url))).request("evm_mine")

        timer = threading.Timer(0.5, mine)
        timer.start()
        check(w3)
        timer.join()


def _first_step(transactor: Transactor) -> bytes:
    creation = load_artifact("federation").creation_code([TERMS.to_abi()])
    call = Call("deploy", creation, Wei(0), 8_000_000, "deploy federation")
    return transactor.prepare(BOSS, call, None).raw


def test_a_simulation_deploys_the_very_blocks_it_always_did() -> None:
    """Recorded before simulator and service shared this code; only an ABI change may move it."""
    experiment = load_experiment("quickstart")
    with open_chain(experiment, identities_of(experiment), None, bytes(range(32))) as chain:
        found = chain.federation.block()
        plan = deployment_of(experiment, chain.identities, bytes(range(32)))
        assert chain.federation.terms == plan.terms
    recorded = "09c65453b64b1147db06cbe6d6e086f2d62b087b65edfe821f0b92af1c54e2c8"
    assert (found.number, found.hash.hex()) == (8, recorded)
