"""For the Makefile, before any package is there: pip's output as one line that counts.

python3 scripts/local/count_packages.py requirements.lock < the output of pip

A pipe or a log gets a line for each 40th package.
"""

import sys
from pathlib import Path


def main(lock: str) -> None:
    wanted = sum("==" in line for line in Path(lock).read_text().splitlines())
    is_terminal, found = sys.stdout.isatty(), 0
    for line in sys.stdin:
        if not line.startswith("Collecting "):
            if line.startswith("Installing collected"):
                sys.stdout.write("\n  unpacking them …\n" if is_terminal else "  unpacking them …\n")
            continue
        found += 1
        if is_terminal:
            sys.stdout.write(f"\r  package {found} of at most {wanted}")
        elif found % 40 == 0:
            sys.stdout.write(f"  package {found} of at most {wanted}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
