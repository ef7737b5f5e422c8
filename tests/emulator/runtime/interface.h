// What a kernel, through the headers beside this file, asks of the runtime, and what the runtime asks of the kernel.
// It names only built-in types: a kernel is compiled without any header of the system. Compiled as CUDA, a kernel finds
// the GPU in place of the runtime.
#pragma once

namespace emulator {

enum Operation { SIMD_OPERATION, SIMDGROUP_BARRIER, THREADGROUP_BARRIER, MATRIX_OPERATION };

// Bits of metal::mem_flags and, in this order, the two kinds of memory that a barrier can order.
enum Memory { DEVICE_MEMORY = 1, THREADGROUP_MEMORY = 2 };

// `COLLECTIVE`: the simdgroup makes the access as a whole, and no one says which lane touches which element.
enum Access { READ = 0, WRITE = 1, ATOMIC = 2, COLLECTIVE = 4 };

struct Index {
  unsigned x, y, z;
};

// Where one thread stands: the attributes of a kernel's parameters.
struct Place {
  Index thread_position_in_grid, thread_position_in_threadgroup, threadgroup_position_in_grid;
  Index threads_per_threadgroup, threadgroups_per_grid, threads_per_grid;
  unsigned thread_index_in_threadgroup, thread_index_in_simdgroup, simdgroup_index_in_threadgroup;
  unsigned simdgroups_per_threadgroup;
};

// What one lane leaves for the others at a meeting; the widest value is a vector of four floats.
struct alignas(16) Slot {
  unsigned char bytes[16];
};

constexpr unsigned SIMD_WIDTH = 32;

// Two sets of slots in turn: a fast lane may leave its next value before a slow one has read the last.
struct Meeting {
  Slot slots[2][SIMD_WIDTH];
  unsigned generation;
};

}  // namespace emulator

#ifdef __CUDACC__
#include "cuda.h"
#else

#define EMULATOR_INLINE __attribute__((always_inline)) inline
#define EMULATOR_CONSTEXPR constexpr

// In front of the function, behind each kernel's text, that calls the kernel for one thread: how its name is found.
#define EMULATOR_KERNEL extern "C" __attribute__((visibility("default")))

// The same piece of threadgroup memory for every thread; the type comes last, since it may hold commas.
#define EMULATOR_THREADGROUP_ARRAY(name, length, ...)                                             \
  __VA_ARGS__(&name)[length] = *reinterpret_cast<__VA_ARGS__(*)[length]>(                         \
      emulator::threadgroup_memory(sizeof(__VA_ARGS__[length]), alignof(__VA_ARGS__),             \
                                   emulator::granule<__VA_ARGS__>::size, __LINE__))

namespace emulator {

typedef _Float16 Float16;

// The thread that runs now.
struct Self {
  unsigned lane, lanes;
  Meeting* meeting;
};
extern Self* self;

inline unsigned lane() { return self->lane; }
inline unsigned lanes() { return self->lanes; }

// The slots of the simdgroup's coming meeting. They stay valid until the simdgroup has met twice more.
inline Slot* slots() { return self->meeting->slots[self->meeting->generation % 2]; }

// Waits until all lanes of the simdgroup are at this operation in this line; a barrier orders the memory it names.
void meet(Operation operation, int memory, int line);

// The same for all threads of the threadgroup.
void threadgroup_meet(int memory, int line);

// The same piece of threadgroup memory for the n-th call of each thread; `granule` is the size of one element.
void* threadgroup_memory(unsigned long bytes, unsigned long alignment, unsigned granule, int line);

#ifdef EMULATOR_CHECKING
// Tells the checks of an access that the compiler's instrumentation does not see; `accesses` are bits of Access.
void record(const volatile void* address, unsigned size, int accesses, int line);

// All lanes must give the same address.
void require_same_address(const volatile void* address, int line);
#else
inline void record(const volatile void*, unsigned, int, int) {}
inline void require_same_address(const volatile void*, int) {}
#endif

}  // namespace emulator

#endif
