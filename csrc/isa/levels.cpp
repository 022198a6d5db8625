#include "isa/levels.h"

#include <atomic>
#include <cstring>

namespace alseg {

namespace baseline { extern const KernelTable table; }
#if defined(__x86_64__)
namespace avx2 { extern const KernelTable table; }
namespace avx512 { extern const KernelTable table; }
#endif

namespace {

constexpr int kMaxLevels = 3;

struct Levels {
  const KernelTable* tables[kMaxLevels] = {};
  const char* names[kMaxLevels + 1] = {};
  int count = 0;

  void add(const KernelTable& t) {
    tables[count] = &t;
    names[count++] = t.name;
  }

  Levels() {
    add(baseline::table);
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
    if (v3) add(avx2::table);
    if (v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      add(avx512::table);
    }
#endif
  }
};

const Levels& levels() {
  static const Levels instance;
  return instance;
}

std::atomic<const KernelTable*> g_chosen{nullptr};

}  // namespace

const KernelTable& kernels() {
  const KernelTable* t = g_chosen.load(std::memory_order_relaxed);
  return t ? *t : *levels().tables[levels().count - 1];
}

const char* const* available_levels() { return levels().names; }

bool set_level(const char* name) {
  for (int i = 0; i < levels().count; ++i) {
    if (std::strcmp(levels().names[i], name) == 0) {
      g_chosen.store(levels().tables[i], std::memory_order_relaxed);
      return true;
    }
  }
  return false;
}

}  // namespace alseg
