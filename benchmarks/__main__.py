"""Run the benchmarks and write their results: ``python -m benchmarks [NAME ...]``.

Every module ``bench_NAME`` of this package has ``run() -> list[dict]``, one row each; its docstring
describes the comparison. A run of some of them replaces only their sections of ``RESULTS.md``.
Options after a single name are passed to that benchmark; its result is then printed, not written.
"""

import argparse
import importlib
import inspect
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import benchmarks
from benchmarks.harness import machine, table

RESULTS = Path(__file__).with_name("RESULTS.md")
PREAMBLE = """# Benchmark results

Written by `make bench`; a section is replaced when its benchmark runs. Ratios within one run,
medians of interleaved repetitions; times alone say little about another machine.
"""


def discover() -> list[str]:
    """Return the names of the benchmarks, without ``bench_``, in order."""
    modules = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(name.removeprefix("bench_") for name in modules if name.startswith("bench_"))


def section(name: str, options: Sequence[str] = ()) -> str:
    """Run a benchmark and return its section."""
    module = importlib.import_module(f"benchmarks.bench_{name}")
    start = time.perf_counter()
    rows = module.run(options) if options else module.run()
    took = time.perf_counter() - start
    return "\n".join(
        [
            f"## {name}",
            "",
            inspect.cleandoc(module.__doc__ or ""),
            "",
            table(rows),
            "",
            f"{machine()}; took {took:.0f} s.",
            "",
        ]
    )


def read_sections(text: str) -> dict[str, str]:
    """Return the sections of a results file by name."""
    parts = text.split("\n## ")[1:]
    return {part.split("\n", 1)[0].strip(): f"## {part.rstrip()}\n" for part in parts}


def main() -> int:
    """Run the named benchmarks, or all; return 1 if one failed."""
    known = discover()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(known)}")
    arguments, options = parser.parse_known_args()
    names = arguments.names or known
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"unknown benchmark {unknown[0]!r}, expected some of: {', '.join(known)}")
    if options:
        if len(names) != 1:
            parser.error(f"{options[0]}: options are for one benchmark, found {len(names)}")
        print(section(names[0], options))
        return 0
    failed = []
    for name in names:
        print(f"{name} ...", flush=True)
        try:
            text = section(name)
        except Exception as error:  # a broken benchmark must not end the others, which take hours
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        print(text, flush=True)
        sections = read_sections(RESULTS.read_text()) if RESULTS.exists() else {}
        sections[name] = text
        ordered = [sections[key] for key in known if key in sections]
        RESULTS.write_text("\n".join([PREAMBLE, *ordered]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
