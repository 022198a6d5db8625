// Large scratch memory that is kept between calls: fresh pages cost more than the kernels that fill them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

namespace alseg {

// Uninitialised memory at a cache line; throws std::bad_alloc. Blocks that are given back are kept for the next call
// up to a limit of the process (kKeptBytes in buffers.cpp).
void* take_memory(size_t bytes, size_t* capacity);
void give_memory(void* memory, size_t capacity);

template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t n) { resize(n); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { clear(); }

  // What was in it is lost.
  void resize(int64_t n) {
    clear();
    data_ = static_cast<T*>(take_memory(static_cast<size_t>(n) * sizeof(T), &capacity_));
  }
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  void clear() {
    if (data_) give_memory(data_, capacity_);
    data_ = nullptr;
    capacity_ = 0;
  }
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
  }
  T* data_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace alseg
