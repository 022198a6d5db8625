# Every target sets up what it needs and is safe to repeat. Python 3.11 or newer and a C++17 compiler are all
# that must be there before.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
NATIVE := pyproject.toml constraints.txt $(shell find csrc -type f)
TEST_EXTRAS ?= cpu,dev

.PHONY: demo test lint sanitize bench clean

demo: $(VENV)/.installed-cpu
	$(BIN)/alseg demo --out alseg-demo

test: $(VENV)/.installed-$(TEST_EXTRAS)
	$(BIN)/pytest -q

bench: $(VENV)/.installed-cpu,bench
	$(BIN)/alseg bench all

lint: $(VENV)/.installed-$(TEST_EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pybind11-stubgen alseg_fast._native --output-dir build/stubs --exit-code
	diff -u alseg_fast/_native.pyi build/stubs/alseg_fast/_native.pyi
	@# mypy cannot follow the editable install: give it the package as it will be installed.
	rm -rf build/lint && mkdir -p build/lint && cp -R alseg_fast build/lint/
	cp -R kernels build/lint/alseg_fast/kernels && cp -R benches build/lint/alseg_fast/benches
	cd build/lint && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml

# The kernel tests over a build with AddressSanitizer and UndefinedBehaviorSanitizer, beside the normal one.
SAN := build/sanitize
sanitize: $(VENV)/.installed-$(TEST_EXTRAS)
	cmake -S csrc -B $(SAN)/cmake -DALSEG_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$(abspath $(BIN))/python" \
	  -DPYTHON_EXECUTABLE="$(abspath $(BIN))/python"
	cmake --build $(SAN)/cmake --parallel
	rm -rf $(SAN)/package && mkdir -p $(SAN)/package && cp -R alseg_fast $(SAN)/package/
	cp -R kernels $(SAN)/package/alseg_fast/kernels && cp $(SAN)/cmake/_native*.so $(SAN)/package/alseg_fast/
	@# -S: without the hook of the editable install, which would find the normal build first.
	ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	  PYTHONPATH="$(abspath $(SAN))/package:$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')" \
	  $(BIN)/python -S -P -m pytest -q -o addopts=--import-mode=importlib -p no:cacheprovider tests/ops -k 'not torch and not triton and not cuda_path and not two_to_the_31'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Give one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: $(VENV)/bin/python $(NATIVE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch '$@'

clean:
	rm -rf $(VENV) build alseg-demo
