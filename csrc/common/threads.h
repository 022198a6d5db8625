// One small thread pool for all kernels; no OpenMP runtime (it clashes with torch's and faiss's).
#pragma once
#include <cstdint>
#include <functional>

namespace alseg {

// Number of CPUs this process may use (its affinity mask), at least 1.
int available_cpus();

// Calls body(i) once for every i in [0, n), from at most num_threads threads of which the caller is one.
// num_threads <= 0 means available_cpus(). Which thread runs which index is not determined, so a body
// must write only what belongs to its own index. body must not throw.
void parallel_for(int64_t n, int num_threads, const std::function<void(int64_t)>& body);

}  // namespace alseg
