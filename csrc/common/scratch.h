// Memory that a thread keeps between calls: fresh pages cost more than a kernel.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace alseg {

class KeptMemory {
 public:
  KeptMemory() = default;
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  ~KeptMemory() { std::free(memory_); }

  // Uninitialised room for n values, at the begin of a cache line; what it held before is lost if it grows.
  template <typename T>
  T* room(int64_t n) {
    if (n < 0 || static_cast<uint64_t>(n) > (uint64_t{1} << 46) / sizeof(T)) throw std::bad_alloc();
    const size_t wanted = (static_cast<size_t>(n) * sizeof(T) + kLine - 1) / kLine * kLine + kLine;
    if (wanted > size_) {
      std::free(memory_);
      size_ = 0;
      memory_ = std::aligned_alloc(kLine, wanted);
      if (!memory_) throw std::bad_alloc();
      size_ = wanted;
    }
    return static_cast<T*>(memory_);
  }

  // Gives the memory back if it is larger than a thread should hold on to.
  void trim(size_t keep_at_most) {
    if (size_ <= keep_at_most) return;
    std::free(memory_);
    memory_ = nullptr;
    size_ = 0;
  }

 private:
  static constexpr size_t kLine = 64;
  void* memory_ = nullptr;
  size_t size_ = 0;
};

}  // namespace alseg
