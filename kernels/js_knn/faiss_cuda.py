"""FAISS finds candidates on a GPU, Numba reranks them on the CPU, the certificate decides: see `two_stage`."""

from functools import partial

from .faiss_forms import search_blocks

js_knn = partial(search_blocks, "cuda")
