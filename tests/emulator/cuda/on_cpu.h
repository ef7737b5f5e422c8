// CUDA for a test without a GPU: one block at a time on one OS thread, its threads as fibers. It gives the header its
// meaning, slowly, and nothing else: no race is found here.

#pragma once

#include <math.h>
#include <string.h>
#include <ucontext.h>

#include <utility>
#include <vector>

#define __global__
#define __shared__ static
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
  unsigned x, y, z;
};

namespace on_cpu {

struct Barrier {
  unsigned arrived = 0, generation = 0;
};

struct Warp {
  unsigned words[2][32];
  Barrier barrier;
};

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  dim3 position;
  unsigned index = 0, meetings = 0;
  bool finished = false;
};

static ucontext_t scheduler;
static std::vector<Fiber>* fibers;
static std::vector<Warp>* warps;
static Barrier block_barrier;
static Fiber* current;
static dim3 grid, block, block_position;
static void (*kernel_call)(void**);
static void** kernel_arguments;
static bool progress;

static void fiber_main() {
  kernel_call(kernel_arguments);
  current->finished = progress = true;
}

static void wait_for(Barrier& barrier, unsigned count) {
  unsigned generation = barrier.generation;
  progress = true;
  if (++barrier.arrived == count) {
    barrier.arrived = 0;
    barrier.generation++;
  }
  while (barrier.generation == generation) swapcontext(&current->context, &scheduler);
}

// Two sets of words in turn: whoever writes the third time knows that the first has been read by all.
static unsigned* exchange(unsigned word) {
  Warp& warp = (*warps)[current->index / 32];
  unsigned* words = warp.words[current->meetings++ % 2];
  words[current->index % 32] = word;
  wait_for(warp.barrier, 32);
  return words;
}

// True, unless the threads wait for each other for ever.
static bool run_block() {
  unsigned threads = block.x * block.y * block.z, finished = 0;
  block_barrier = Barrier();
  warps->assign((threads + 31) / 32, Warp());
  for (unsigned i = 0; i < threads; i++) {
    Fiber& fiber = (*fibers)[i];
    fiber.stack.resize(256 * 1024);
    fiber.position = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    fiber.index = i;
    fiber.meetings = 0;
    fiber.finished = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, fiber_main, 0);
  }
  while (finished < threads) {
    progress = false;
    finished = 0;
    for (Fiber& fiber : *fibers) {
      current = &fiber;
      if (!fiber.finished) swapcontext(&scheduler, &fiber.context);
      finished += fiber.finished;
    }
    if (!progress) return false;
  }
  return true;
}

static bool run(void (*call)(void**), void** arguments, dim3 blocks, dim3 threads) {
  std::vector<Fiber> all(threads.x * threads.y * threads.z);
  std::vector<Warp> groups;
  fibers = &all;
  warps = &groups;
  grid = blocks;
  block = threads;
  kernel_call = call;
  kernel_arguments = arguments;
  for (block_position.z = 0; block_position.z < grid.z; block_position.z++)
    for (block_position.y = 0; block_position.y < grid.y; block_position.y++)
      for (block_position.x = 0; block_position.x < grid.x; block_position.x++)
        if (!run_block()) return false;
  return true;
}

// Calls `kernel` with its arguments behind pointers, as cuLaunchKernel receives them.
template <typename... Types, size_t... Places>
static void call_with(void (*kernel)(Types...), void** arguments, std::index_sequence<Places...>) {
  kernel(*static_cast<Types*>(arguments[Places])...);
}
template <typename... Types>
static void call(void (*kernel)(Types...), void** arguments) {
  call_with(kernel, arguments, std::index_sequence_for<Types...>());
}

}  // namespace on_cpu

#define threadIdx (on_cpu::current->position)
#define blockIdx (on_cpu::block_position)
#define blockDim (on_cpu::block)
#define gridDim (on_cpu::grid)

inline void __syncthreads() { on_cpu::wait_for(on_cpu::block_barrier, on_cpu::fibers->size()); }
inline void __syncwarp(unsigned) { on_cpu::exchange(0); }
inline unsigned __shfl_sync(unsigned, unsigned word, int lane) { return on_cpu::exchange(word)[lane]; }
inline bool __all_sync(unsigned, bool condition) {
  unsigned* words = on_cpu::exchange(condition);
  bool result = true;
  for (int lane = 0; lane < 32; lane++) result = result && words[lane];
  return result;
}
inline bool __any_sync(unsigned, bool condition) {
  unsigned* words = on_cpu::exchange(condition);
  bool result = false;
  for (int lane = 0; lane < 32; lane++) result = result || words[lane];
  return result;
}
inline int __popc(unsigned word) { return __builtin_popcount(word); }
inline int __clz(int word) { return word ? __builtin_clz(unsigned(word)) : 32; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

#define ON_CPU_ATOMIC(name, after)          \
  template <typename T, typename U>         \
  inline T name(T* place, U value) {        \
    T before = *place;                      \
    *place = T(after);                      \
    return before;                          \
  }

ON_CPU_ATOMIC(atomicAdd, before + value)
ON_CPU_ATOMIC(atomicExch, value)
ON_CPU_ATOMIC(atomicMax, before < value ? value : before)
ON_CPU_ATOMIC(atomicMin, value < before ? value : before)
ON_CPU_ATOMIC(atomicAnd, before & value)
ON_CPU_ATOMIC(atomicOr, before | value)
ON_CPU_ATOMIC(atomicXor, before ^ value)
#undef ON_CPU_ATOMIC

namespace witness {

inline float float_of_half(unsigned short bits) {
  _Float16 value;
  memcpy(&value, &bits, 2);
  return value;
}
inline unsigned short half_of_float(float value) {
  _Float16 narrow = value;
  unsigned short bits;
  memcpy(&bits, &narrow, 2);
  return bits;
}

}  // namespace witness
