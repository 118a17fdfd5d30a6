"""Draw errors for the catalogue of `make mutants`: draw.py COUNT SEED FILE... prints entries to look through.

Errors are those of cosmic-ray's operators. Nothing else needs it, so it is not among the pinned packages: run this in
an environment that has it (`python3 -m venv folder`, `folder/bin/pip install cosmic-ray`). Of what is drawn, keep no
entry that changes nothing without saying why.
"""

import random
import sys
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

#: Operators whose errors are none, as in annotations, or raise wherever numbers are not whole and say nothing by that.
LEFT_OUT = ("Bit", "Shift", "Invert", "no_op", "NoOp", "Decorator", "ExceptionReplacer")


def possible(file: str) -> Iterator[tuple[str, int]]:
    """Yield every operator that changes a file, and which of the places that it can change."""
    tree = get_ast(Path(file).read_text(encoding="utf-8"))
    for name in operator_names():
        if not get_operator(name).arguments() and not any(part in name for part in LEFT_OUT):
            operator = get_operator(name)()
            places = sum(1 for node in ast_nodes(tree) for _ in operator.mutation_positions(node))
            yield from ((name, k) for k in range(places))


def entry(file: str, name: str, place: int) -> str:
    """Return an error as an entry of the catalogue, with as many lines around it as make its text the only one."""
    source = Path(file).read_text(encoding="utf-8")
    old, new = source.splitlines(), mutate_code(source, get_operator(name)(), place).splitlines()
    changed = [block for block in SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if block[0] != "equal"]
    start, stop, new_start, new_stop = changed[0][1], changed[-1][2], changed[0][3], changed[-1][4]
    while source.count("\n".join(old[start:stop])) > 1:
        start, new_start = start - 1, new_start - 1
    text, becomes = "\n".join(old[start:stop]), "\n".join(new[new_start:new_stop])
    words = f'id = "{Path(file).stem}-{start + 1}"\nfile = "{file}"\noperator = "{name.partition("/")[2]}"\nabout = ""'
    return f"[[error]]\n{words}\ntext = '''{text}'''\nbecomes = '''{becomes}'''\n"


def main(count: str, seed: str, *files: str) -> None:
    drawn = random.Random(int(seed))
    kinds = {file: list(possible(file)) for file in files}
    for file in drawn.choices(files, [len(kinds[file]) for file in files], k=int(count)):
        print(entry(file, *drawn.choice(kinds[file])))


if __name__ == "__main__":
    main(*sys.argv[1:])
