// Floats that a thread keeps between the tiles it works on.
#pragma once

#include <cstdint>

#include "common/buffers.h"

namespace alseg {

// At least n floats of the calling thread, with any values; valid until its next call.
inline float* thread_floats(int64_t n) {
  thread_local Buffer<float> memory;
  thread_local int64_t size = 0;
  if (size < n) {
    memory.resize(n);
    size = n;
  }
  return memory.data();
}

}  // namespace alseg
