// Relaxed 32-bit atomics, the only ones that the rules for the text allow.

#pragma once

namespace metal {

enum memory_order { memory_order_relaxed };

template <typename T>
struct atomic {
  static_assert(sizeof(T) == 4, "atomics are of 32 bits");
  T value;
};
using atomic_int = atomic<int>;
using atomic_uint = atomic<uint>;
using atomic_float = atomic<float>;

template <typename T>
inline T atomic_load_explicit(const atomic<T>* object, memory_order) {
  return *(const volatile T*)&object->value;
}
template <typename T>
inline void atomic_store_explicit(atomic<T>* object, typename scalar_beside<T>::type value, memory_order) {
  *(volatile T*)&object->value = value;
}

#define WITNESS_ATOMIC(name, of_cuda)                                                           \
  template <typename T>                                                                         \
  inline T name(atomic<T>* object, typename scalar_beside<T>::type value, memory_order) {       \
    return ::of_cuda(&object->value, value);                                                    \
  }

WITNESS_ATOMIC(atomic_exchange_explicit, atomicExch)
WITNESS_ATOMIC(atomic_fetch_add_explicit, atomicAdd)
WITNESS_ATOMIC(atomic_fetch_max_explicit, atomicMax)
WITNESS_ATOMIC(atomic_fetch_min_explicit, atomicMin)
WITNESS_ATOMIC(atomic_fetch_and_explicit, atomicAnd)
WITNESS_ATOMIC(atomic_fetch_or_explicit, atomicOr)
WITNESS_ATOMIC(atomic_fetch_xor_explicit, atomicXor)
#undef WITNESS_ATOMIC

}  // namespace metal
