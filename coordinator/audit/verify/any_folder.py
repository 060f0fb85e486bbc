"""Audits a folder of any kind: a run's, a federation's, or a coordinator's state."""

from pathlib import Path

from coordinator.audit.coordinator_folder import coordinator_folder
from coordinator.audit.verify.findings import Findings
from coordinator.audit.verify.folder_audit import verify_folder
from coordinator.audit.verify.run_audit import verify_run
from coordinator.protocol.errors import ConfigError


def verify(path: str | Path, *, seen_block: str | None = None, partial: bool = False) -> Findings:
    """Replay all rounds from chain and blobs alone; nothing is trained and nothing is written.

    Every block is executed again, every blob re-hashed, every signature and bond checked, every
    aggregate, score and reward computed again.

    Parameters
    ----------
    path
        A run's folder; or the folder of a federation, or its coordinator's state, while the
        coordinator does not run.
    seen_block
        A block hash, hexadecimal, that must still be in the chain.
    partial
        The run is unfinished: check what is there. Only for a run's folder.

    Returns
    -------
    Findings, whose ``ok`` says whether everything holds, and whose ``faults`` name what does not.

    Raises
    ------
    ConfigError
        If the folder cannot be read, has no embedded chain, or ``partial`` is given for a
        coordinator's folder.
    StoreError
        If a file in it is there and cannot be read.
    ChainUnavailableError
        If a process has the chain open.
    """
    root = Path(path)
    folder = coordinator_folder(root)
    if folder is None:
        return verify_run(root, seen_block=seen_block, partial=partial)
    if partial:
        raise ConfigError(f"{root}: a coordinator's folder; partial is for a run's folder only")
    return verify_folder(folder, seen_block=seen_block)
