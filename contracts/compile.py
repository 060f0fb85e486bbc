"""Compile the contracts: ``python -m contracts.compile`` rewrites what is generated from them.

That is ``contracts/abi/``, ABI and bytecode, so that nothing needs Vyper at run time, and the
classes of the events in ``contracts/binding/``. A test compiles again and compares. ``--check``
only compares; with names of contracts, only those. Needs the ``dev`` extra.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contracts.binding.artifacts import ABI_FOLDER, CONTRACTS
from contracts.event_classes import MODULES, event_comments, render_events
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import JsonObject

SOURCE_FOLDER: Final = Path(__file__).parent / "src"
REFEREE_FOLDER: Final = SOURCE_FOLDER / "referee"
EVM_VERSION: Final = "prague"
OPTIMIZE: Final = "gas"
CODE_SIZE_LIMIT: Final = 24_576
"""EIP-170."""


def source_sha256(paths: Sequence[Path]) -> str:
    """Return one digest over source files: names, lengths and bytes, in order of name."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        data = path.read_bytes()
        digest.update(f"{path.name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def source_of(name: str) -> Path:
    """Return the file a deployed contract is compiled from."""
    folder = SOURCE_FOLDER if name == "federation" else REFEREE_FOLDER
    return folder / f"{name}.vy"


def compile_contract(source: Path, search_path: Path, libraries: Sequence[Path] = ()) -> JsonObject:
    """Compile one contract and return what its file in ``contracts/abi/`` holds.

    ``libraries`` are further folders to import modules from.

    Raises
    ------
    ConfigError
        If Vyper is not installed, or the contract is over the code-size limit.
    """
    try:
        import vyper
        from vyper.compiler import compile_from_file_input
        from vyper.compiler.input_bundle import FilesystemInputBundle
        from vyper.compiler.settings import OptimizationLevel, Settings
    except ImportError as missing:
        raise ConfigError("vyper is not installed: install the project's dev extra") from missing
    bundle = FilesystemInputBundle([*libraries, search_path])
    output = compile_from_file_input(
        bundle.load_file(source.relative_to(search_path)),
        input_bundle=bundle,
        settings=Settings(
            evm_version=EVM_VERSION, optimize=OptimizationLevel.from_string(OPTIMIZE)
        ),
        output_formats=["abi", "bytecode", "bytecode_runtime"],
        no_bytecode_metadata=True,
    )
    size = len(output["bytecode_runtime"]) // 2 - 1
    if size > CODE_SIZE_LIMIT:
        raise ConfigError(f"{source.name}: {size} bytes of code, at most {CODE_SIZE_LIMIT}")
    return {
        "contract": source.stem,
        "compiler": {
            "name": "vyper",
            "version": vyper.__version__,
            "evm_version": EVM_VERSION,
            "optimize": OPTIMIZE,
        },
        "source_sha256": source_sha256([*{*search_path.glob("*.vy"), *source.parent.glob("*.vy")}]),
        "runtime_size_bytes": size,
        "abi": output["abi"],
        "bytecode": output["bytecode"],
    }


def render(artifact: JsonObject) -> str:
    """Return the text of an artifact's file."""
    return json.dumps(artifact, indent=1, sort_keys=True) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the artifacts, or with ``--check`` say which are not current; return exit status."""
    parser = argparse.ArgumentParser(prog="python -m contracts.compile", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("contract", nargs="*", help=f"of {', '.join(CONTRACTS)}; by default all")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.contract if name not in CONTRACTS]:
        parser.error(f"{unknown[0]}: no such contract; expected one of {', '.join(CONTRACTS)}")
    check: bool = options.check
    generated: dict[str, tuple[Path, str]] = {}
    for name in options.contract or CONTRACTS:
        artifact = compile_contract(source_of(name), SOURCE_FOLDER)
        generated[f"contracts/abi/{name}.json"] = ABI_FOLDER / f"{name}.json", render(artifact)
        for module in (module for module in MODULES if module.contract == name):
            comments = event_comments(source_of(name).parent)
            text = render_events(module, artifact, comments)
            generated[f"contracts/binding/{module.file}"] = module.path, text
        print(f"{name}: {artifact['runtime_size_bytes']} of {CODE_SIZE_LIMIT} bytes")
    stale = 0
    for name, (path, text) in generated.items():
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale = 1
            print(f"{name} is not current, run python -m contracts.compile")
    return stale


if __name__ == "__main__":
    sys.exit(main())
