"""The embedded chain: py-evm's rules on a durable single-file store.

Modules: ``kv`` (the store), ``genesis`` (the parameters), ``execution`` (py-evm at work), ``node``
(blocks and state), ``pool`` (pending transactions), ``rpc`` (JSON-RPC without a transport),
``provider`` (web3 in process), ``server`` (loopback HTTP), ``replica`` (verification by
re-execution), ``operate`` (what the commands call).

One producer, no peers, no consensus: what an untrusting participant does about that is in
``docs/chain.md``.
"""

import os

# py-evm's automatic choice is pycryptodome, seven times slower per hash than pysha3
# (docs/adr/0020). It is read when ``eth_hash`` is first used, so it is set before any import
# of ``eth`` below this package.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")
