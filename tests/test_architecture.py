"""The import directions of the project: a module imports what lies below it, never above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "alseg_fast"

# Lowest first. A prefix stands for everything below it; the longest match counts.
LAYERS = (
    ("errors", "py.typed"),
    ("config", "alloc", "types", "checks", "atomic"),
    ("freed_memory",),
    ("dispatch",),
    ("kernels", "_native"),
    ("ops",),
    ("histogram_index",),
    ("runtimes",),
    ("export",),
    ("stages",),
    ("seats",),
    ("worker", "pipeline", "process_facts"),
    ("score_results", "score_pictures"),
    ("engine",),
    ("reporting", "picture_histograms", "histogram_pass", "mask_pass", "index_pictures"),
    ("pseudo_label_job",),
    ("indexing", "index_query", "propagation", "pseudo_labelling"),
    ("learn",),
    ("simulation",),
    ("demo",),
    ("benches",),
    ("cli",),
    ("__main__",),
)
# Among the stages, data flows one way too.
STAGES = (
    ("codecs", "readers"),
    ("fetch", "pool", "decode", "image_tags"),
    ("prepare", "fingerprint", "region_cache", "histogram"),
    ("regions",),
    ("region_columns",),
    ("score",),
    ("run_layout", "run_maps", "run_pool", "score_rows", "region_rows"),
    ("run_identity", "run_reader", "run_wipe", "run_finish"),
    ("store", "index_tables", "index_failures", "own_directory"),
    ("select_options", "strategies", "batch", "budget", "masks", "bought"),
    ("exclusions", "never_buy", "region_candidates", "pixel_values", "pixel_select"),
    ("selection_plan", "selection_facts", "select", "oracle"),
    ("propagate_options",),
    ("propagate_gate", "propagate_inputs", "propagate_histograms"),
    ("propagate_state",),
    ("propagate_class", "propagate_pairs"),
    ("propagate_report", "pseudo_masks", "mask_files", "propagate_files"),
    ("foreground_maps", "contact_sheet"),
    ("label_confusion", "error_detection"),
    ("pseudo_labels",),
    ("pseudo_threshold", "pseudo_label_options", "pseudo_label_tally"),
    ("pseudo_label_files",),
    ("report_bought", "report_facts", "report_statistics", "report_pictures", "report_html", "report"),
)
# And among the parts of learning.
LEARN = (("data",), ("networks",), ("maps", "losses"), ("training",), ("methods",))
# Libraries that are imported at module level only where no other module is reached without them: the files of a
# back end, named after its library; the training of the example; export and training of torch networks.
HEAVY = {"torch", "triton", "numba", "faiss", "onnxruntime", "onnx", "cv2"}


def sources():
    files = [p for p in PACKAGE.rglob("*.py") if "kernels" not in p.relative_to(PACKAGE).parts]
    for path in files:
        yield path, ("alseg_fast", *path.relative_to(PACKAGE).with_suffix("").parts)
    for top in ("kernels", "benches"):
        for path in (ROOT / top).rglob("*.py"):
            yield path, ("alseg_fast", top, *path.relative_to(ROOT / top).with_suffix("").parts)


def imports_of(path, module):
    """(absolute dotted parts, node, at module level) of every import inside the package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module[:-1]
    top_level = set()
    for node in tree.body:
        top_level.update(ast.walk(node) if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) else [node])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split(".")), node, node in top_level
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield (*base, alias.name), node, node in top_level


def rank(parts, layers):
    for i, names in enumerate(layers):
        if parts and parts[0] in names:
            return i
    return None


def test_every_module_has_a_layer():
    missing = [m for _, m in sources() if m[1] not in ("__init__",) and rank(m[1:], LAYERS) is None]
    assert missing == []
    assert [m for _, m in sources() if m[1] == "stages" and m[2] != "__init__" and rank(m[2:], STAGES) is None] == []


def test_imports_point_downwards():
    wrong = []
    for path, module in sources():
        if module[1] == "__init__":
            continue
        own = rank(module[1:], LAYERS)
        for target, node, _ in imports_of(path, module):
            if target[0] != "alseg_fast" or len(target) < 2:
                continue
            other = rank(target[1:], LAYERS)
            if other is None:
                continue  # a name of alseg_fast/__init__, such as __version__
            both_stages = module[1] == target[1] == "stages"
            both_learn = module[1] == target[1] == "learn" and len(module) > 2
            if (
                other > own
                or (both_stages and (rank(target[2:], STAGES) or 0) > rank(module[2:], STAGES))
                or (both_learn and (rank(target[2:], LEARN) or 0) > (rank(module[2:], LEARN) or 0))
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {'.'.join(target)}")
    assert wrong == []


def test_heavy_libraries_load_only_where_they_are_used():
    allowed = {"demo/train.py", "demo/network.py"}
    wrong = []
    for path, module in sources():
        if (
            module[1] in ("benches", "export", "learn", "simulation")
            or str(Path(*module[1:]).with_suffix(".py")) in allowed
        ):
            continue
        if module[1] == "kernels" and module[-1].split("_", 1)[0] in HEAVY:
            continue
        for target, node, top_level in imports_of(path, module):
            if target[0] in HEAVY and top_level:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {target[0]}")
    assert wrong == []


def test_the_environment_is_read_in_one_place():
    wrong = []
    for path, module in sources():
        if module[1] in ("config", "benches"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


@pytest.mark.parametrize("suffix", ["*.inl", "*.h", "*.cpp"])
def test_kernels_know_nothing_of_python(suffix):
    for path in (ROOT / "csrc" / "kernels").glob(suffix):
        text = path.read_text(encoding="utf-8")
        assert "pybind11" not in text
        if suffix == "*.inl":
            # One body, compiled once an instruction set: a shared inline function would be an ODR violation.
            assert "#include" not in text, path.name
