// One launch: the threadgroups of the grid one after another.
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "state.h"

namespace emulator {

namespace {

Report* report;
char signal_stack[65536];
pthread_t own_thread;

// A signal ends the launch, not the process: it comes from the kernel's text.
void on_signal(int number, siginfo_t* information, void*) {
  const bool own = pthread_equal(pthread_self(), own_thread);
  if (number == SIGPROF && (!self || !own)) {
    // A timer's signal may come to any thread of the process.
    if (self) pthread_kill(own_thread, number);
    return;
  }
  if (!self || !own) {
    // Not the kernel's: the same instruction fails again, now with the usual end.
    signal(number, SIG_DFL);
    return;
  }
  Fiber& fiber = current();
  bool guard = false;
  const bool memory = number == SIGSEGV || number == SIGBUS;
  const bool stack = memory && in_stack(information->si_addr, guard);
  const int buffer = memory ? buffer_of(information->si_addr) : ELSEWHERE;
  if (number == SIGPROF) {
    fault(TOO_LONG, fiber.line);
  } else if (!memory) {
    // A compiler that sees the division puts a trap in its place.
    fault(UNDEFINED, fiber.line).detail = number == SIGFPE ? "integer division by zero" : "a path without a meaning";
  } else if (stack && guard) {
    fault(STACK_OVERFLOW, fiber.line);
  } else if (buffer == ELSEWHERE) {
    fault(BAD_ADDRESS, fiber.line);
  } else {
    const bool inside = buffer != THREADGROUP && buffer < launch_of_now().buffer_count &&
                        static_cast<unsigned long>(offset_in(buffer, information->si_addr)) <
                            launch_of_now().buffers[buffer].bytes;
    Fault& found = fault(inside ? READ_ONLY : OUT_OF_BOUNDS, fiber.line);
    found.buffer = buffer, found.offset = offset_in(buffer, information->si_addr), found.size = 0;
  }
  abandon();
}

constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGPROF};
constexpr int SIGNAL_COUNT = sizeof(SIGNALS) / sizeof(SIGNALS[0]);

// Makes signals come to `on_signal`, on a stack of their own, as long as it lives.
struct SignalGuard {
  struct sigaction before[SIGNAL_COUNT];
  stack_t stack_before;

  explicit SignalGuard(int limit_ms) {
    own_thread = pthread_self();
    stack_t stack = {};
    stack.ss_sp = signal_stack;
    stack.ss_size = sizeof(signal_stack);
    sigaltstack(&stack, &stack_before);
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    // The handler does not return, so the signal must not stay blocked.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < SIGNAL_COUNT; ++i) sigaction(SIGNALS[i], &action, &before[i]);
    set_timer(limit_ms);
  }
  ~SignalGuard() {
    set_timer(0);
    for (int i = 0; i < SIGNAL_COUNT; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
    sigaltstack(&stack_before, nullptr);
  }

  // In processor time, so that a busy machine does not count.
  static void set_timer(int limit_ms) {
    itimerval timer = {};
    timer.it_value.tv_sec = limit_ms / 1000, timer.it_value.tv_usec = limit_ms % 1000 * 1000;
    setitimer(ITIMER_PROF, &timer, nullptr);
  }
};

unsigned smaller(unsigned a, unsigned b) { return a < b ? a : b; }

// The threads of one threadgroup; at the grid's edge it may be smaller.
void place_threads(const Launch& launch, Index where, Index counts) {
  const Index full = {launch.threadgroup[0], launch.threadgroup[1], launch.threadgroup[2]};
  const Index origin = {where.x * full.x, where.y * full.y, where.z * full.z};
  const Index size = {smaller(full.x, launch.grid[0] - origin.x), smaller(full.y, launch.grid[1] - origin.y),
                      smaller(full.z, launch.grid[2] - origin.z)};
  const unsigned threads = size.x * size.y * size.z, count = (threads + SIMD_WIDTH - 1) / SIMD_WIDTH;
  const unsigned number = (where.z * counts.y + where.y) * counts.x + where.x;
  group = {threads, count, 0, 0, 0, number, NOWHERE, 0, {1, 1}};
  for (unsigned i = 0; i < count; ++i) {
    Simdgroup& simdgroup = simdgroups[i];
    simdgroup.generation = simdgroup.arrived = simdgroup.finished = 0;
    simdgroup.lanes = smaller(SIMD_WIDTH, threads - i * SIMD_WIDTH);
    simdgroup.epochs[0] = simdgroup.epochs[1] = 1;
  }
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    const Index inside = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    fiber.thread = i;
    fiber.lane = i % SIMD_WIDTH;
    fiber.simdgroup = &simdgroups[i / SIMD_WIDTH];
    fiber.meeting = fiber.simdgroup;
    fiber.lanes = fiber.simdgroup->lanes;
    fiber.place = {{origin.x + inside.x, origin.y + inside.y, origin.z + inside.z},
                   inside,
                   where,
                   size,
                   counts,
                   {launch.grid[0], launch.grid[1], launch.grid[2]},
                   i,
                   fiber.lane,
                   i / SIMD_WIDTH,
                   count};
  }
}

}  // namespace

Fault& fault(Kind kind, int line) {
  static Fault ignored;
  Fault& found = report->count < 16 ? report->faults[report->count++] : ignored;
  found = {kind,    line, NOWHERE, NOWHERE, NOWHERE, self ? static_cast<int>(group.number) : NOWHERE,
           NOWHERE, ELSEWHERE, 0,   0,       0,       0,
           nullptr};
  return found;
}

bool reported(Kind kind, int line, int other_line) {
  for (int i = 0; i < report->count; ++i) {
    const Fault& found = report->faults[i];
    if (found.kind == kind && (line == ANY || found.line == line) && found.other_line == other_line) return true;
  }
  return false;
}

bool report_full() { return report->count >= 16; }

namespace {

// False when a fault ended it.
bool run_threadgroups(const Launch& launch) {
  Index counts;
  unsigned* sizes[] = {&counts.x, &counts.y, &counts.z};
  for (int i = 0; i < 3; ++i) *sizes[i] = (launch.grid[i] + launch.threadgroup[i] - 1) / launch.threadgroup[i];
  SignalGuard guard(launch.limit_ms);
  for (unsigned z = 0; z < counts.z; ++z) {
    for (unsigned y = 0; y < counts.y; ++y) {
      for (unsigned x = 0; x < counts.x; ++x) {
        place_threads(launch, {x, y, z}, counts);
        clear_threadgroup_memory();
        if (!run_threads()) return false;
      }
    }
  }
  return true;
}

}  // namespace

}  // namespace emulator

// Returns 0, or 1 where the operating system gives no memory. The faults are in `report`.
extern "C" __attribute__((visibility("default"))) int emulator_launch(
    const emulator::Launch* launch, emulator::Report* report) {
  using namespace emulator;
  emulator::report = report;
  report->count = 0;
  void* addresses[MOST_BUFFERS] = {};
  kernel_buffers = addresses;
  const unsigned* size = launch->threadgroup;
  const bool ready = map_buffers(*launch, addresses) && map_stacks(size[0] * size[1] * size[2]) && begin_checks();
  if (ready) {
    end_checks(run_threadgroups(*launch));
    copy_back(*launch, addresses);
  }
  unmap_buffers();
  unmap_stacks();
  return !ready;
}
