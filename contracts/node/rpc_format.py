"""Records as the JSON objects that Ethereum clients expect."""

from typing import Any

from contracts.node.reader import BlockView, FoundLog
from contracts.node.records import BlockRecord, LogRecord, TransactionRecord, TxReceipt
from coordinator.protocol.types import JsonObject


def hex_data(data: bytes) -> str:
    """Return bytes as ``0x`` hex."""
    return f"0x{data.hex()}"


def block_json(view: BlockView, *, full: bool) -> JsonObject:
    """Return a block; with ``full``, its transactions as objects."""
    transactions: list[Any] = (
        [transaction_json(record) for record in view.transactions]
        if full
        else [hex_data(record.hash) for record in view.transactions]
    )
    return {**header_json(view.block), "transactions": transactions}


def header_json(block: BlockRecord) -> JsonObject:
    """Return a block's fields without its transactions; all that the hash is made of."""
    return {
        "number": hex(block.number),
        "hash": hex_data(block.hash),
        "parentHash": hex_data(block.parent_hash),
        "timestamp": hex(block.timestamp),
        "miner": block.coinbase,
        "gasLimit": hex(block.gas_limit),
        "gasUsed": hex(block.gas_used),
        "baseFeePerGas": hex(block.base_fee_wei),
        "stateRoot": hex_data(block.state_root),
        "transactionsRoot": hex_data(block.transactions_root),
        "receiptsRoot": hex_data(block.receipts_root),
        "withdrawalsRoot": hex_data(block.withdrawals_root),
        "withdrawals": [],
        "requestsHash": hex_data(block.requests_hash),
        "parentBeaconBlockRoot": hex_data(block.parent_beacon_block_root),
        "sha3Uncles": hex_data(block.uncles_hash),
        "uncles": [],
        "mixHash": hex_data(block.mix_hash),
        "nonce": hex_data(block.nonce),
        "difficulty": "0x0",
        "extraData": hex_data(block.extra_data),
        "logsBloom": _bloom(block.bloom),
        "blobGasUsed": hex(block.blob_gas_used),
        "excessBlobGas": hex(block.excess_blob_gas),
        "size": hex(block.size_bytes),
    }


def transaction_json(record: TransactionRecord) -> JsonObject:
    """Return a mined or pending transaction."""
    price = record.effective_gas_price
    result: JsonObject = {
        "hash": hex_data(record.hash),
        "type": hex(record.type_id),
        "chainId": hex(record.chain_id),
        "from": record.sender,
        "to": record.to,
        "nonce": hex(record.nonce),
        "value": hex(record.value_wei),
        "gas": hex(record.gas),
        "gasPrice": hex(record.max_fee_wei if price is None else price),
        "input": hex_data(record.data),
        "v": hex(record.v),
        "r": hex(record.r),
        "s": hex(record.s),
        "blockNumber": _or_null(record.block_number),
        "blockHash": None if record.block_hash is None else hex_data(record.block_hash),
        "transactionIndex": _or_null(record.index),
    }
    if record.type_id >= 1:
        result["accessList"] = [
            {"address": account, "storageKeys": [f"0x{slot:064x}" for slot in slots]}
            for account, slots in record.access_list
        ]
        result["yParity"] = hex(record.v)
    if record.type_id >= 2:
        result["maxFeePerGas"] = hex(record.max_fee_wei)
        result["maxPriorityFeePerGas"] = hex(record.max_priority_fee_wei)
    return result


def receipt_json(receipt: TxReceipt) -> JsonObject:
    """Return a receipt with its logs."""
    return {
        "transactionHash": hex_data(receipt.transaction_hash),
        "transactionIndex": hex(receipt.transaction_index),
        "blockNumber": hex(receipt.block_number),
        "blockHash": hex_data(receipt.block_hash),
        "from": receipt.sender,
        "to": receipt.to,
        "status": hex(receipt.status),
        "type": hex(receipt.type_id),
        "gasUsed": hex(receipt.gas_used),
        "cumulativeGasUsed": hex(receipt.cumulative_gas_used),
        "effectiveGasPrice": hex(receipt.effective_gas_price),
        "contractAddress": receipt.contract_address,
        "logs": [log_json(log, receipt) for log in receipt.logs],
        "logsBloom": _bloom(receipt.bloom),
    }


def log_json(log: LogRecord, receipt: TxReceipt) -> JsonObject:
    """Return an event with its place."""
    return {
        "address": log.address,
        "topics": [hex_data(topic) for topic in log.topics],
        "data": hex_data(log.data),
        "logIndex": hex(log.index),
        "transactionHash": hex_data(receipt.transaction_hash),
        "transactionIndex": hex(receipt.transaction_index),
        "blockNumber": hex(receipt.block_number),
        "blockHash": hex_data(receipt.block_hash),
        "removed": False,
    }


def found_log_json(found: FoundLog) -> JsonObject:
    """Return a log that a search found."""
    return log_json(found.log, found.receipt)


def _bloom(bloom: int) -> str:
    return f"0x{bloom:0512x}"


def _or_null(number: int | None) -> str | None:
    return None if number is None else hex(number)
