"""What the documents promise: examples that run, commands and options that exist."""

import doctest
import re
from pathlib import Path

import numpy as np

from alseg_fast import ops
from alseg_fast.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_docstring_examples_run():
    finder = doctest.DocTestFinder(recurse=False)
    runner = doctest.DocTestRunner()
    examples = 0
    for function in (ops.uncertainty,):
        for test in finder.find(function, function.__name__, globs={"np": np, **vars(ops)}):
            examples += len(test.examples)
            runner.run(test)
    assert examples
    assert runner.failures == 0


def test_every_command_line_in_the_readme_parses():
    parser = build_parser()
    lines = [line.split("#")[0].split() for line in README.splitlines() if line.startswith("alseg ")]
    assert len(lines) >= 4
    for words in lines:
        parser.parse_args(words[1:])


def test_make_targets_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make ([a-z]+)", README))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_dependency_is_explained():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    table = README.split("## Dependencies")[1].split("##")[0]
    for requirement in project["dependencies"] + project["optional-dependencies"]["cpu"]:
        assert f"| {re.split('[><=]', requirement)[0]} " in table, requirement
