"""The embedded chain: py-evm's rules on a durable single-file store.

Modules: ``kv`` (the store), ``genesis`` (the parameters), ``execution`` (runs transactions with
py-evm), ``node`` (blocks and state), ``pool`` (pending transactions), ``rpc`` (JSON-RPC without a
transport), ``provider`` (web3 in process), ``server`` (loopback HTTP), ``replica`` (verification by
re-execution), ``operate`` (functions of the commands).

One producer, no peers, no consensus: ``docs/chain.md`` describes how a participant can check it
without trusting the operator.
"""

import os

# py-evm's automatic choice is pycryptodome, seven times slower per hash than pysha3
# (docs/adr/0020). It is read when ``eth_hash`` is first used, so it is set before any import
# of ``eth`` below this package.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")
