// Where a thread stands, barriers, and the operations of a simdgroup. A simdgroup of 32 threads is a warp; all of its
// lanes take part in each operation, because the text keeps them in uniform control flow.

#pragma once

#define WITNESS_ALL_LANES 0xffffffffu

namespace witness {

inline metal::uint3 position_in_threadgroup() { return metal::uint3(threadIdx.x, threadIdx.y, threadIdx.z); }
inline metal::uint3 threadgroup_position() { return metal::uint3(blockIdx.x, blockIdx.y, blockIdx.z); }
inline metal::uint3 threadgroup_size() { return metal::uint3(blockDim.x, blockDim.y, blockDim.z); }
inline metal::uint3 threadgroup_count() { return metal::uint3(gridDim.x, gridDim.y, gridDim.z); }
inline metal::uint3 position_in_grid() {
  return threadgroup_position() * threadgroup_size() + position_in_threadgroup();
}
inline metal::uint3 grid_size() { return threadgroup_count() * threadgroup_size(); }
inline metal::uint index_in_threadgroup() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
inline metal::uint lane() { return index_in_threadgroup() % 32; }
inline metal::uint simdgroup() { return index_in_threadgroup() / 32; }
inline metal::uint simdgroup_count() { return (blockDim.x * blockDim.y * blockDim.z + 31) / 32; }

// Any type travels as 32-bit words.
template <typename T>
inline T read_lane(T value, metal::uint source) {
  unsigned words[(sizeof(T) + 3) / 4] = {};
  memcpy(words, &value, sizeof(T));
  for (unsigned i = 0; i < sizeof(words) / 4; i++) words[i] = ::__shfl_sync(WITNESS_ALL_LANES, words[i], int(source));
  memcpy(&value, words, sizeof(T));
  return value;
}

}  // namespace witness

namespace metal {

enum class mem_flags : uint { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
inline mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint(a) | uint(b)); }

// CUDA's barriers order all memory, whatever the flags say: a wrong flag is the emulator's to find.
inline void threadgroup_barrier(mem_flags) { ::__syncthreads(); }
inline void simdgroup_barrier(mem_flags) { ::__syncwarp(WITNESS_ALL_LANES); }

template <typename T> inline T simd_shuffle(T value, ushort lane) { return witness::read_lane(value, lane); }
template <typename T> inline T simd_broadcast(T value, ushort lane) { return witness::read_lane(value, lane); }
template <typename T> inline T simd_broadcast_first(T value) { return witness::read_lane(value, 0); }
template <typename T>
inline T simd_shuffle_xor(T value, ushort mask) {
  return witness::read_lane(value, witness::lane() ^ mask);
}
// A lane without a partner keeps its own value; Metal leaves it undefined.
template <typename T>
inline T simd_shuffle_down(T value, ushort delta) {
  uint source = witness::lane() + delta;
  return witness::read_lane(value, source < 32 ? source : witness::lane());
}
template <typename T>
inline T simd_shuffle_up(T value, ushort delta) {
  uint lane = witness::lane();
  return witness::read_lane(value, lane >= delta ? lane - delta : lane);
}

#define WITNESS_REDUCTION(name, combined)                                                       \
  template <typename T>                                                                         \
  inline T name(T a) {                                                                          \
    for (ushort mask = 16; mask > 0; mask /= 2) {                                               \
      T b = simd_shuffle_xor(a, mask);                                                          \
      a = T(combined);                                                                          \
    }                                                                                           \
    return a;                                                                                   \
  }

WITNESS_REDUCTION(simd_sum, a + b)
WITNESS_REDUCTION(simd_product, a* b)
WITNESS_REDUCTION(simd_max, max(a, b))
WITNESS_REDUCTION(simd_min, min(a, b))
WITNESS_REDUCTION(simd_and, a& b)
WITNESS_REDUCTION(simd_or, a | b)
WITNESS_REDUCTION(simd_xor, a ^ b)
#undef WITNESS_REDUCTION

template <typename T>
inline T simd_prefix_inclusive_sum(T value) {
  for (ushort delta = 1; delta < 32; delta *= 2) {
    T before = simd_shuffle_up(value, delta);
    if (witness::lane() >= delta) value = T(value + before);
  }
  return value;
}
template <typename T>
inline T simd_prefix_exclusive_sum(T value) {
  T before = simd_shuffle_up(simd_prefix_inclusive_sum(value), 1);
  return witness::lane() == 0 ? T(0) : before;
}

inline bool simd_all(bool condition) { return ::__all_sync(WITNESS_ALL_LANES, condition); }
inline bool simd_any(bool condition) { return ::__any_sync(WITNESS_ALL_LANES, condition); }

}  // namespace metal
