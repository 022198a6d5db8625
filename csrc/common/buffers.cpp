#include "common/buffers.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace alseg {
namespace {

constexpr size_t kKeptBytes = size_t{384} << 20;
constexpr size_t kHugePage = size_t{2} << 20;

struct Block {
  void* memory;
  size_t capacity;
};

struct Store {
  std::mutex mutex;
  std::vector<Block> kept;  // the oldest first
  size_t bytes = 0;
};

// Never destroyed: a buffer may outlive every static object when the interpreter exits.
Store* g_store = new Store();

// A forked child cannot know whether the mutex was held: it starts anew, and what its parent kept stays unused.
void forget_store() { g_store = new Store(); }

Store& store() {
  static const int registered = pthread_atfork(nullptr, nullptr, forget_store);
  (void)registered;
  return *g_store;
}

}  // namespace

void* take_memory(size_t bytes, size_t* capacity) {
  bytes = std::max<size_t>(bytes, 64);
  Store& s = store();
  {
    std::lock_guard<std::mutex> lock(s.mutex);
    auto best = s.kept.end();
    for (auto it = s.kept.begin(); it != s.kept.end(); ++it) {
      const bool fits = it->capacity >= bytes && it->capacity <= 2 * bytes + kHugePage;
      if (fits && (best == s.kept.end() || it->capacity < best->capacity)) best = it;
    }
    if (best != s.kept.end()) {
      const Block block = *best;
      s.kept.erase(best);
      s.bytes -= block.capacity;
      *capacity = block.capacity;
      return block.memory;
    }
  }
  // A little more than asked for, so that the next picture of about this size finds it large enough.
  const size_t unit = bytes >= kHugePage ? kHugePage : 64;
  *capacity = (bytes + bytes / 16 + unit - 1) / unit * unit;
  void* const memory = std::aligned_alloc(unit, *capacity);
  if (!memory) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (unit == kHugePage) madvise(memory, *capacity, MADV_HUGEPAGE);  // a hint: its failure changes nothing
#endif
  return memory;
}

void give_memory(void* memory, size_t capacity) {
  std::vector<Block> dropped;
  {
    Store& s = store();
    std::lock_guard<std::mutex> lock(s.mutex);
    s.kept.push_back({memory, capacity});
    s.bytes += capacity;
    size_t first = 0;
    while (s.bytes > kKeptBytes) {
      s.bytes -= s.kept[first].capacity;
      dropped.push_back(s.kept[first++]);
    }
    s.kept.erase(s.kept.begin(), s.kept.begin() + static_cast<std::ptrdiff_t>(first));
  }
  for (const Block& block : dropped) std::free(block.memory);
}

}  // namespace alseg
