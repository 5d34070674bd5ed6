"""The console script: `nowcast train …` is `python -m nowcast.train …`, and so on for every program."""

import importlib.util
import runpy
import sys

PROGRAMS = ("train", "forecast", "verify", "benchmark", "ingest", "synthesize", "dashboard")


def main() -> None:
    """Run the program named by the first argument with the rest."""
    there = [name for name in PROGRAMS if importlib.util.find_spec(f"nowcast.{name}")]
    if len(sys.argv) < 2 or sys.argv[1] not in there:
        asked = sys.argv[1:2]
        print(f"usage: nowcast {{{','.join(there)}}} …   (each has --help)", file=sys.stderr)
        sys.exit(0 if asked in (["-h"], ["--help"]) else 2)
    program = f"nowcast.{sys.argv[1]}"
    sys.argv = [program, *sys.argv[2:]]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
