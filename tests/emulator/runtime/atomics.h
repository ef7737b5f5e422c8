// Relaxed 32-bit atomics. Threads take turns only where they meet, so plain loads and stores are atomic here; the checks
// are told that they are meant to be.
#pragma once

#include "matrices.h"

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T>
struct atomic {
  static_assert(sizeof(T) == 4, "atomics are 32 bits wide");
  T value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<float> atomic_float;

}  // namespace metal

namespace emulator {

template <class T>
struct same {
  typedef T type;
};

#define EMULATOR_UNSEEN __attribute__((noinline, no_sanitize("thread")))

template <class T>
EMULATOR_UNSEEN T load(const volatile metal::atomic<T>* target, int line) {
  record(target, sizeof(T), READ | ATOMIC, line);
  return target->value;
}
template <class T>
EMULATOR_UNSEEN T exchange_atomic(volatile metal::atomic<T>* target, T value, int line) {
  record(target, sizeof(T), READ | WRITE | ATOMIC, line);
  const T before = target->value;
  target->value = value;
  return before;
}

}  // namespace emulator

namespace metal {

template <class T>
T atomic_load_explicit(const volatile atomic<T>* target, memory_order, EMULATOR_LINE) {
  return emulator::load(target, line);
}
template <class T>
EMULATOR_UNSEEN void atomic_store_explicit(
    volatile atomic<T>* target, typename emulator::same<T>::type value, memory_order, EMULATOR_LINE) {
  emulator::record(target, sizeof(T), emulator::WRITE | emulator::ATOMIC, line);
  target->value = value;
}
template <class T>
T atomic_exchange_explicit(
    volatile atomic<T>* target, typename emulator::same<T>::type value, memory_order, EMULATOR_LINE) {
  return emulator::exchange_atomic(target, value, line);
}
template <class T>
EMULATOR_UNSEEN bool atomic_compare_exchange_weak_explicit(
    volatile atomic<T>* target, T* expected, typename emulator::same<T>::type desired, memory_order, memory_order,
    EMULATOR_LINE) {
  const T before = emulator::load(target, line);
  if (__builtin_memcmp(&before, expected, sizeof(T)) == 0) {
    emulator::exchange_atomic(target, desired, line);
    return true;
  }
  *expected = before;
  return false;
}

#define EMULATOR_FETCH(name, result)                                                                    \
  template <class T>                                                                                    \
  T name(volatile atomic<T>* target, typename emulator::same<T>::type value, memory_order, EMULATOR_LINE) { \
    const T before = emulator::load(target, line);                                                      \
    emulator::exchange_atomic(target, static_cast<T>(result), line);                                    \
    return before;                                                                                      \
  }
EMULATOR_FETCH(atomic_fetch_add_explicit, before + value)
EMULATOR_FETCH(atomic_fetch_sub_explicit, before - value)
EMULATOR_FETCH(atomic_fetch_min_explicit, min(before, value))
EMULATOR_FETCH(atomic_fetch_max_explicit, max(before, value))
EMULATOR_FETCH(atomic_fetch_and_explicit, before & value)
EMULATOR_FETCH(atomic_fetch_or_explicit, before | value)
EMULATOR_FETCH(atomic_fetch_xor_explicit, before ^ value)
#undef EMULATOR_FETCH

}  // namespace metal
