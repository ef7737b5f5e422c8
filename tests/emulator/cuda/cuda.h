// In place of the emulator's runtime, on an NVIDIA GPU: a simdgroup is a warp, threadgroup memory is shared memory, and
// a meeting is a barrier. What else Metal's names mean stands in the headers of ../runtime, which both share.
#pragma once

#define EMULATOR_INLINE inline
#define EMULATOR_CONSTEXPR
#define EMULATOR_KERNEL
#define EMULATOR_THREADGROUP_ARRAY(name, length, ...) __shared__ __align__(16) __VA_ARGS__ name[length]

// The built-ins of gcc and clang that CUDA's compiler lacks.
#define __SIZE_TYPE__ unsigned long
#define __PTRDIFF_TYPE__ long
#define __UINTPTR_TYPE__ unsigned long
#define __INT_MAX__ 2147483647
#define __FLT_MAX__ 3.40282347e+38f
#define __FLT_MIN__ 1.17549435e-38f
#define __FLT_EPSILON__ 1.19209290e-07f
#define __builtin_inff() __builtin_bit_cast(float, 0x7f800000u)
#define __builtin_nanf(text) __builtin_bit_cast(float, 0x7fc00000u)
#define __builtin_memcpy memcpy
#define __builtin_memcmp memcmp
#define __builtin_sqrtf sqrtf
#define __builtin_floorf floorf
#define __builtin_ceilf ceilf
#define __builtin_truncf truncf
#define __builtin_roundf roundf
#define __builtin_rintf rintf
#define __builtin_fabsf fabsf
#define __builtin_fmaf fmaf
#define __builtin_signbitf signbit
#define __builtin_popcount __popc
#define __builtin_clz __clz
#define __builtin_ctz(a) (__ffs(a) - 1)

namespace emulator {

// The hardware's conversions: to nearest, ties to even.
struct Float16 {
  unsigned short bits;
  Float16() = default;
  explicit Float16(float number) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(number)); }
  explicit operator float() const {
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(bits));
    return number;
  }
};

// The lint holds launches to whole simdgroups, at most 8 of them, side by side along x.
constexpr unsigned MOST_SIMDGROUPS = 8;

inline Meeting& meeting() {
  __shared__ Meeting meetings[MOST_SIMDGROUPS];
  return meetings[threadIdx.x / SIMD_WIDTH];
}

inline unsigned lane() { return threadIdx.x % SIMD_WIDTH; }
inline unsigned lanes() { return SIMD_WIDTH; }
inline Slot* slots() { return meeting().slots[meeting().generation % 2]; }

inline void meet(Operation, int, int) {
  __syncwarp();
  if (lane() == 0) ++meeting().generation;
  __syncwarp();
}

// CUDA's barriers order all memory, whatever the flags say: a wrong flag is the emulator's to find.
inline void threadgroup_meet(int, int) { __syncthreads(); }
inline void record(const volatile void*, unsigned, int, int) {}
inline void require_same_address(const volatile void*, int) {}

// Where this thread stands, before its first meeting.
inline Place begin() {
  if (lane() == 0) meeting().generation = 0;
  __syncwarp();
  const Index group = {blockIdx.x, blockIdx.y, blockIdx.z}, groups = {gridDim.x, gridDim.y, gridDim.z};
  const Index inside = {threadIdx.x, 0, 0}, size = {blockDim.x, 1, 1};
  return {{group.x * size.x + inside.x, group.y, group.z},
          inside,
          group,
          size,
          groups,
          {groups.x * size.x, groups.y, groups.z},
          inside.x,
          lane(),
          inside.x / SIMD_WIDTH,
          size.x / SIMD_WIDTH};
}

}  // namespace emulator
