"""`python -m bench [--smoke] [NAME ...]`: exit code 1 when an answer or a limit is not kept."""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from bench.registry import WrongAnswerError, load_benchmarks, measure, run_once


def main() -> int:
    known = load_benchmarks()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--smoke", action="store_true", help="each once, untimed, small")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    console = Console()
    table = Table("benchmark", "what is compared", "at most", "found", "")
    failed = []
    for name in asked.names or known:
        entry = known[name]
        try:
            with console.status(name):
                if asked.smoke:
                    run_once(entry)
                else:
                    ratio = measure(entry)
        except WrongAnswerError as wrong:
            console.print(str(wrong), style="red", markup=False, highlight=False)
            failed.append(name)
            continue
        limit = f"{entry.at_most:g}"
        if asked.smoke:
            table.add_row(name, entry.what, limit, "not timed", "answers right")
            continue
        is_kept = ratio <= entry.at_most
        table.add_row(name, entry.what, limit, f"{ratio:.3g}", "kept" if is_kept else "MISSED")
        if not is_kept:
            failed.append(name)
    console.print(table)
    if failed:
        console.print(f"failed: {', '.join(failed)}", style="red")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
