// What the lanes of a simdgroup do together. Each lane leaves its value in a slot, waits for the others, and reads.
// `line` is where the kernel's text calls: a meeting at two different places is a fault.
#pragma once

#include "mathematics.h"

#define EMULATOR_LINE int line = __builtin_LINE()

namespace metal {

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_device_and_threadgroup = 3, mem_texture = 4 };
EMULATOR_INLINE mem_flags operator|(mem_flags a, mem_flags b) {
  return static_cast<mem_flags>(static_cast<int>(a) | static_cast<int>(b));
}

EMULATOR_INLINE void threadgroup_barrier(mem_flags flags, EMULATOR_LINE) {
  emulator::threadgroup_meet(static_cast<int>(flags), line);
}
EMULATOR_INLINE void simdgroup_barrier(mem_flags flags, EMULATOR_LINE) {
  emulator::meet(emulator::SIMDGROUP_BARRIER, static_cast<int>(flags), line);
}

}  // namespace metal

namespace emulator {

// All lanes' values of one meeting.
template <class T>
struct Values {
  const Slot* slots;
  EMULATOR_INLINE T operator[](unsigned lane) const {
    T value;
    __builtin_memcpy(&value, slots[lane].bytes, sizeof(T));
    return value;
  }
};

template <class T>
EMULATOR_INLINE Values<T> exchange(T value, int line) {
  static_assert(sizeof(T) <= sizeof(Slot), "a simd operation takes at most 16 bytes");
  Slot* left = slots();
  __builtin_memcpy(left[lane()].bytes, &value, sizeof(T));
  meet(SIMD_OPERATION, 0, line);
  return {left};
}

// Where no lane stands, Metal leaves the result open; here a lane gets its own value.
template <class T>
EMULATOR_INLINE T value_of(Values<T> values, unsigned other) {
  return values[other < lanes() ? other : lane()];
}

}  // namespace emulator

namespace metal {

template <class T>
EMULATOR_INLINE T simd_shuffle(T value, ushort other, EMULATOR_LINE) {
  return emulator::value_of(emulator::exchange(value, line), other);
}
template <class T>
EMULATOR_INLINE T simd_shuffle_xor(T value, ushort mask, EMULATOR_LINE) {
  return emulator::value_of(emulator::exchange(value, line), emulator::lane() ^ mask);
}
template <class T>
EMULATOR_INLINE T simd_shuffle_up(T value, ushort delta, EMULATOR_LINE) {
  return emulator::value_of(emulator::exchange(value, line), emulator::lane() - delta);
}
template <class T>
EMULATOR_INLINE T simd_shuffle_down(T value, ushort delta, EMULATOR_LINE) {
  return emulator::value_of(emulator::exchange(value, line), emulator::lane() + delta);
}
template <class T>
EMULATOR_INLINE T simd_shuffle_rotate_up(T value, ushort delta, EMULATOR_LINE) {
  return emulator::value_of(emulator::exchange(value, line), (emulator::lane() - delta) % emulator::lanes());
}
template <class T>
EMULATOR_INLINE T simd_shuffle_rotate_down(T value, ushort delta, EMULATOR_LINE) {
  return emulator::value_of(emulator::exchange(value, line), (emulator::lane() + delta) % emulator::lanes());
}
template <class T>
EMULATOR_INLINE T simd_broadcast(T value, ushort other, EMULATOR_LINE) {
  return emulator::value_of(emulator::exchange(value, line), other);
}
template <class T>
EMULATOR_INLINE T simd_broadcast_first(T value, EMULATOR_LINE) {
  return emulator::exchange(value, line)[0];
}

#define EMULATOR_REDUCTION(name, step)                                                     \
  template <class T>                                                                       \
  EMULATOR_INLINE T name(T value, EMULATOR_LINE) {                                         \
    emulator::Values<T> values = emulator::exchange(value, line);                          \
    T a = values[0];                                                                       \
    for (unsigned i = 1; i < emulator::lanes(); ++i) {                                     \
      T b = values[i];                                                                     \
      a = step;                                                                            \
    }                                                                                      \
    return a;                                                                              \
  }
EMULATOR_REDUCTION(simd_sum, a + b)
EMULATOR_REDUCTION(simd_product, a * b)
EMULATOR_REDUCTION(simd_max, max(a, b))
EMULATOR_REDUCTION(simd_min, min(a, b))
EMULATOR_REDUCTION(simd_and, a & b)
EMULATOR_REDUCTION(simd_or, a | b)
EMULATOR_REDUCTION(simd_xor, a ^ b)
EMULATOR_REDUCTION(simd_all, a && b)
EMULATOR_REDUCTION(simd_any, a || b)
#undef EMULATOR_REDUCTION

template <class T>
EMULATOR_INLINE T simd_prefix_exclusive_sum(T value, EMULATOR_LINE) {
  emulator::Values<T> values = emulator::exchange(value, line);
  T sum = T(0);
  for (unsigned i = 0; i < emulator::lane(); ++i) sum = sum + values[i];
  return sum;
}
template <class T>
EMULATOR_INLINE T simd_prefix_inclusive_sum(T value, EMULATOR_LINE) {
  return simd_prefix_exclusive_sum(value, line) + value;
}
EMULATOR_INLINE bool simd_is_first() { return emulator::lane() == 0; }

}  // namespace metal
