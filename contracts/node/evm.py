"""py-evm configured with our chain's rules: Prague, no proof of work, a fixed gas limit.

Other modules use py-evm's consensus code through this one, so that the node and the replica that
verifies it have the same rules.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI
from eth.chains.base import MiningChain
from eth.constants import GENESIS_BLOCK_NUMBER
from eth.vm.forks.prague import PragueVM

GAS_CAP_PER_TRANSACTION: Final = 16_777_216
"""EIP-7825; not in Prague, but comparable chains have it."""
MAX_TRANSACTION_BYTES: Final = 128 * 1024
"""geth's limit on one pooled transaction."""
BLOCK_TIME_S: Final = 1
"""Seconds between blocks without a clock."""


class FedproofVM(PragueVM):
    """Prague, with a correction of the gas in receipts."""

    @classmethod
    def finalize_gas_used(
        cls, transaction: SignedTransactionAPI, computation: ComputationAPI
    ) -> int:
        """Return the gas that the sender is charged for.

        py-evm caps the refund after adding the calldata floor (EIP-7623) here, but before it where
        it charges the sender, so its receipt could report less than was paid (ADR 0020).
        """
        spent = transaction.gas - computation.get_gas_remaining()
        refund = cls.calculate_net_gas_refund(spent, computation.get_gas_refund())
        return spent - refund + computation.data_floor_gas


@cache
def chain_class(chain_id: int) -> type[MiningChain]:
    """Return py-evm's chain class for ``chain_id``."""
    return MiningChain.configure(
        __name__="FedproofChain",
        vm_configuration=((GENESIS_BLOCK_NUMBER, FedproofVM),),
        chain_id=chain_id,
    )


def base_fee_of(header: BlockHeaderAPI) -> int:
    """Return a header's base fee in wei; every header of this chain has one."""
    return int(header.base_fee_per_gas or 0)


def seal_block(
    vm: FedproofVM,
    header: BlockHeaderAPI,
    transactions: Sequence[SignedTransactionAPI],
    receipts: Sequence[ReceiptAPI],
) -> BlockAPI:
    """Write the block's tries and state and return the finished block.

    ``vm`` has executed ``transactions``; ``header`` is the header after that. The caller has a
    batch open and persists the block itself.
    """
    filled = vm.set_block_transactions_and_withdrawals(
        vm.get_block(), header, transactions, receipts
    )
    return vm.mine_block(filled).block
