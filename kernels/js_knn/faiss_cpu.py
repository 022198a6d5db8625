"""FAISS finds candidates on the CPU, Numba reranks them, the certificate decides: see `two_stage`."""

from functools import partial

from .faiss_forms import search_blocks

js_knn = partial(search_blocks, "cpu")
