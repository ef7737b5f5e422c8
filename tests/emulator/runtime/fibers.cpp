// Threads of a threadgroup as fibers of one thread of the operating system: each runs until it has to wait for others,
// then the next goes on. So a run is the same every time.
#include <sys/mman.h>

#include "state.h"

// Keeps what a callee must keep on the old stack, and goes on where the new one was left.
extern "C" void emulator_switch(void** old_stack, void* new_stack) __asm__("emulator_switch");
extern "C" void emulator_begin() __asm__("emulator_begin");
extern "C" void emulator_run_thread() __asm__("emulator_run_thread");

#if defined(__x86_64__)
// START_WORDS leaves the stack at a multiple of 16 bytes where emulator_begin calls, as compiled code relies on.
constexpr unsigned SAVED_WORDS = 6, RETURN_WORD = 6, START_WORDS = 9;
__asm__(R"(
.text
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
emulator_begin:
  call emulator_run_thread
)");
#elif defined(__aarch64__)
constexpr unsigned SAVED_WORDS = 20, RETURN_WORD = 11, START_WORDS = 22;
__asm__(R"(
.text
.p2align 2
emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
emulator_begin:
  bl emulator_run_thread
)");
#else
#error "the emulator switches stacks on x86-64 and arm64 only"
#endif

namespace emulator {

Self* self;
Fiber fibers[MOST_THREADS];
Simdgroup simdgroups[MOST_THREADS / SIMD_WIDTH];
Threadgroup group;
void** kernel_buffers;

namespace {

constexpr unsigned long STACK_BYTES = 256 * 1024, GUARD_BYTES = 64 * 1024;
char* stacks;
unsigned stack_count;
void* main_stack;
bool abandoned;

bool runnable(const Fiber& fiber) {
  switch (fiber.state) {
    case READY: return true;
    case IN_SIMDGROUP: return fiber.awaits != fiber.simdgroup->generation;
    case IN_THREADGROUP: return fiber.awaits != group.generation;
    default: return false;
  }
}

// The next lane first, so that the lanes of a simdgroup take turns; then the simdgroups behind it.
Fiber* next_fiber(const Fiber& from) {
  const unsigned first = from.thread - from.lane, count = from.simdgroup->lanes;
  for (unsigned step = 1; step <= count; ++step) {
    unsigned lane = from.lane + step;
    Fiber& fiber = fibers[first + (lane < count ? lane : lane - count)];
    if (runnable(fiber)) return &fiber;
  }
  for (unsigned step = 1; step <= group.threads; ++step) {
    Fiber& fiber = fibers[(from.thread + step) % group.threads];
    if (runnable(fiber)) return &fiber;
  }
  return nullptr;
}

void switch_to(Fiber& fiber) {
  Fiber& old = current();
  self = &fiber;
  emulator_switch(&old.stack_pointer, fiber.stack_pointer);
}

// Everyone waits, but not for the same: names two who wait for different things, or one that waits for the returned.
[[noreturn]] void report_stuck() {
  const Fiber* one = nullptr;
  for (unsigned i = 0; i < group.threads; ++i) {
    const Fiber& fiber = fibers[i];
    if (fiber.state == DONE) continue;
    if (!one) one = &fiber;
    if (one->line == fiber.line && one->state == fiber.state) continue;
    Fault& found = fault(STUCK, one->line);
    found.thread = one->thread, found.other_thread = fiber.thread, found.other_line = fiber.line;
    found.operation = one->operation, found.other_operation = fiber.operation;
    abandon();
  }
  Fault& found = fault(RETURNED, one->line);
  found.thread = one->thread, found.operation = one->operation;
  abandon();
}

void wait(State state, unsigned generation) {
  Fiber& fiber = current();
  fiber.state = state, fiber.awaits = generation;
  Fiber* next = next_fiber(fiber);
  if (!next) report_stuck();
  if (next != &fiber) switch_to(*next);
  fiber.state = READY;
}

[[noreturn]] void report_places(Operation operation, int line, unsigned first, int first_line, Operation first_one) {
  Fault& found = fault(DIFFERENT_PLACES, line);
  found.thread = current().thread, found.other_thread = first, found.other_line = first_line;
  found.operation = operation, found.other_operation = first_one;
  abandon();
}

[[noreturn]] void report_returned(Operation operation, int line) {
  Fault& found = fault(RETURNED, line);
  found.thread = current().thread, found.operation = operation;
  abandon();
}

void pass(unsigned* epochs, int memory) {
  if (memory & DEVICE_MEMORY) ++epochs[0];
  if (memory & THREADGROUP_MEMORY) ++epochs[1];
}

}  // namespace

bool map_stacks(unsigned count) {
  void* memory = mmap(nullptr, count * STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  stacks = static_cast<char*>(memory), stack_count = count;
  for (unsigned i = 0; i < count; ++i) {
    mprotect(stacks + i * STACK_BYTES, GUARD_BYTES, PROT_NONE);
    // Not all at the same distance from a page's end: they would share one set of the cache.
    fibers[i].stack_top = stacks + (i + 1) * STACK_BYTES - i % SIMD_WIDTH * 192;
  }
  return true;
}

void unmap_stacks() {
  if (stack_count) munmap(stacks, stack_count * STACK_BYTES);
  stack_count = 0;
}

void meet(Operation operation, int memory, int line) {
  Fiber& fiber = current();
  Simdgroup& simdgroup = *fiber.simdgroup;
  fiber.line = line, fiber.operation = operation;
  if (simdgroup.finished) report_returned(operation, line);
  if (simdgroup.arrived == 0) {
    simdgroup.operation = operation, simdgroup.line = line, simdgroup.first = fiber.thread;
  } else if (simdgroup.line != line || simdgroup.operation != operation) {
    report_places(operation, line, simdgroup.first, simdgroup.line, simdgroup.operation);
  }
  if (++simdgroup.arrived < simdgroup.lanes) return wait(IN_SIMDGROUP, simdgroup.generation);
  simdgroup.arrived = 0;
  ++simdgroup.generation;
  pass(simdgroup.epochs, memory);
}

void threadgroup_meet(int memory, int line) {
  Fiber& fiber = current();
  fiber.line = line, fiber.operation = THREADGROUP_BARRIER;
  if (group.finished) report_returned(THREADGROUP_BARRIER, line);
  if (group.arrived == 0) {
    group.line = line, group.first = fiber.thread;
  } else if (group.line != line) {
    report_places(THREADGROUP_BARRIER, line, group.first, group.line, THREADGROUP_BARRIER);
  }
  if (++group.arrived < group.threads) return wait(IN_THREADGROUP, group.generation);
  group.arrived = 0;
  ++group.generation;
  pass(group.epochs, memory);
  for (unsigned i = 0; i < group.simdgroups; ++i) pass(simdgroups[i].epochs, memory);
}

bool run_threads() {
  for (unsigned i = 0; i < group.threads; ++i) {
    Fiber& fiber = fibers[i];
    fiber.state = READY, fiber.line = NOWHERE, fiber.arrays = 0;
    void** top = reinterpret_cast<void**>(reinterpret_cast<unsigned long>(fiber.stack_top) & ~15ul) - START_WORDS;
    for (unsigned word = 0; word < SAVED_WORDS + 2; ++word) top[word] = nullptr;
    top[RETURN_WORD] = reinterpret_cast<void*>(&emulator_begin);
    fiber.stack_pointer = top;
  }
  abandoned = false;
  self = &fibers[0];
  emulator_switch(&main_stack, fibers[0].stack_pointer);
  self = nullptr;
  return !abandoned;
}

void abandon() {
  abandoned = true;
  void* unused;
  emulator_switch(&unused, main_stack);
  __builtin_unreachable();
}

bool in_stack(const volatile void* address, bool& guard) {
  const unsigned long distance = static_cast<const volatile char*>(address) - stacks;
  if (distance >= stack_count * STACK_BYTES) return false;
  guard = distance % STACK_BYTES < GUARD_BYTES;
  return true;
}

}  // namespace emulator

// The bottom of every fiber's stack: runs the kernel once, and goes to another fiber for good.
void emulator_run_thread() {
  using namespace emulator;
  Fiber& fiber = current();
  launch_of_now().kernel(kernel_buffers, fiber.place);
  fiber.state = DONE;
  ++fiber.simdgroup->finished;
  ++group.finished;
  Fiber* next = next_fiber(fiber);
  if (next) switch_to(*next);
  if (group.finished < group.threads) report_stuck();
  void* unused;
  emulator_switch(&unused, main_stack);
}
