"""Builds the TOML files that founding writes, with comments for the operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w

from coordinator.settings.founding import Founding
from coordinator.settings.participant import CONFIRMATIONS


@dataclass(frozen=True, slots=True)
class Reach:
    """The coordinator's addresses; on an external chain ``rpc`` is another node's.

    ``confirmations`` is the number of later blocks before a block counts as seen; ``None`` on the
    embedded chain.
    """

    rpc: str
    store: str
    superlink: str
    tls: bool
    confirmations: int | None = None

    @classmethod
    def of(
        cls, host: str, names: Sequence[str], ports: tuple[int, int], *, tls: bool, rpc: str
    ) -> "Reach":
        """Return a coordinator's addresses, with its listening address or its first host name.

        ``ports`` are those of HTTP and of the SuperLink; ``rpc`` is empty on the embedded chain.
        """
        name = host if host in names else names[0]
        name = f"[{name}]" if ":" in name else name
        store = f"{'https' if tls else 'http'}://{name}:{ports[0]}"
        superlink = f"{name}:{ports[1]}"
        return cls(rpc or f"{store}/rpc", store, superlink, tls, CONFIRMATIONS if rpc else None)


def coordinator_toml(founding: Founding) -> bytes:
    """Return the service's configuration."""
    host, rounds = founding.host, founding.round
    certificate = {
        "certificate": "tls/server.crt" if host.tls else "",
        "key": "tls/server.key" if host.tls else "",
    }
    flower = {"host": host.host, "port": host.superlink_port, "insecure": not host.tls}
    sections: Mapping[str, Mapping[str, Any]] = {
        "account": {"key": "keys/coordinator.json", "password_file": "keys/coordinator.password"},
        "chain": {"rpc": founding.chain.rpc},
        "http": {
            "host": host.host,
            "port": host.http_port,
            **certificate,
            "allowed_hosts": host.names,
        },
        "flower": {
            **flower,
            "ca": "tls/ca.crt" if host.tls else "",
            **certificate,
            "registry": "registry.json",
        },
        "round": {"min_online": rounds.min_online, "rounds": rounds.rounds},
    }
    title = f"# The coordinator of {founding.name}: fedproof coordinator --config coordinator.toml"
    remarks = {
        "chain": 'rpc = "" is the embedded chain; http://host:port any other node',
        "round": "0: as many as the rule asks for; 0 rounds: without end",
    }
    top: dict[str, Any] = {
        "format": "fedproof-coordinator-1",
        "federation": "federation.json",
        "state": "state",
    }
    if extensions := founding.extensions:
        top["extensions"] = list(extensions)
    return _toml(title, top, sections, remarks)


def participant_toml(
    name: str,
    reach: Reach,
    label: str,
    *,
    own_account: bool,
    model: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a participant's configuration.

    Parameters
    ----------
    label
        The agreed name of the label column; empty for ``"label"``.
    own_account
        Whether it has its own key, whose password it enters or sets in the environment.
    model
        The founder's ``[model]`` table where the federation learns a module of one's own.
    """
    account = {"key": "account.json"}
    if not own_account:
        account["password_file"] = "password.txt"
    depth = {} if reach.confirmations is None else {"confirmations": reach.confirmations}
    sections: Mapping[str, Mapping[str, Any]] = {
        "account": account,
        "coordinator": {
            "rpc": reach.rpc,
            "store": reach.store,
            "superlink": reach.superlink,
            "ca": "ca.crt" if reach.tls else "",
            **depth,
        },
        "node": {"key": "node.key" if reach.tls else ""},
        **({"model": model} if model else {}),
        "data": {"kind": "csv", "path": "data.csv", "label": label or "label"},
        "stake": {"join": True},
        "rewards": {"claim_above_wei": "0.1 ether"},
    }
    remarks = {
        "account": "put your own key file here" if own_account else "",
        "data": 'your own data: kind = "csv", "parquet", "numpy", "idx", "images" or "python"',
        "stake": "bond by oneself when the daemon starts",
        "model": "runs this code, of your own copy next to this file: read it first",
    }
    title = f"# {name}: fedproof client --config participant.toml"
    top = {
        "format": "fedproof-participant-1",
        "name": name,
        "federation": "federation.json",
        "state": "state",
    }
    return _toml(title, top, sections, remarks)


def _toml(
    title: str,
    top: Mapping[str, Any],
    sections: Mapping[str, Mapping[str, Any]],
    remarks: Mapping[str, str],
) -> bytes:
    """Return a TOML file; ``remarks`` are comments on the headings of ``sections``, by name.

    The library writes no comments, so each table is written by itself.
    """
    parts = [f"{title}\n", tomli_w.dumps(top)]
    for section, values in sections.items():
        remark = remarks.get(section, "")
        heading = f"[{section}]"
        body = tomli_w.dumps({section: values})  # further tables of it are named in full
        parts.append(body.replace(heading, f"{heading}  # {remark}", 1) if remark else body)
    return "\n".join(parts).encode()
