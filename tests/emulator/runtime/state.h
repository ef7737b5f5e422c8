// What the parts of the runtime share: the threads of the threadgroup that runs now, its buffers, and the report.
#pragma once

#include "interface.h"

namespace emulator {

// Kept in step with `Kind` in faults.py.
enum Kind {
  DIFFERENT_PLACES,
  RETURNED,
  STUCK,
  OUT_OF_BOUNDS,
  RACE,
  RACE_OF_THREADGROUPS,
  UNINITIALISED,
  READ_ONLY,
  NOT_WRITTEN,
  TOO_MUCH_MEMORY,
  MISALIGNED,
  UNDEFINED,
  BAD_ADDRESS,
  STACK_OVERFLOW,
  DIFFERENT_ADDRESSES,
  DIFFERENT_ARRAYS,
  TOO_LONG,
};

constexpr int NOWHERE = -1;  // no line, no thread
constexpr int ANY = -2;      // whatever line
constexpr int THREADGROUP = -1;  // in place of a buffer's number
constexpr int COLLECTIVE_THREAD = 1 << 16;  // plus the simdgroup's number: all its lanes together

// One fault; `line` and `thread` are the one that noticed, `other_...` the one it met. As in faults.py.
struct Fault {
  int kind, line, other_line, thread, other_thread, threadgroup, other_threadgroup, buffer;
  long offset, size;
  int operation, other_operation;
  const char* detail;
};

struct Report {
  Fault faults[16];
  int count;
};

struct Buffer {
  void* data;
  unsigned long bytes;
  unsigned granule;  // size of one element
  int writable, initialised;
};

struct Launch {
  void (*kernel)(void* const* buffers, const Place& place);
  unsigned grid[3], threadgroup[3];
  const Buffer* buffers;
  int buffer_count, limit_ms;
  unsigned long slack;  // bytes behind each buffer that may be used unnoticed, as on a GPU
};

struct Simdgroup : Meeting {
  unsigned lanes, arrived, finished;
  Operation operation;  // of the first lane that came to this meeting
  int line;
  unsigned first;
  unsigned epochs[2];  // barriers passed that order device memory, threadgroup memory
  const volatile void* address;
};

enum State { READY, IN_SIMDGROUP, IN_THREADGROUP, DONE };

struct Fiber : Self {
  void* stack_pointer;
  char* stack_top;
  Simdgroup* simdgroup;
  Place place;
  State state;
  Operation operation;
  unsigned awaits;  // the generation that it wants to be over
  unsigned thread;
  unsigned arrays;  // threadgroup arrays it has asked for
  int line;         // where it was last seen
};

struct Threadgroup {
  unsigned threads, simdgroups, generation, arrived, finished, number;
  int line;
  unsigned first;
  unsigned epochs[2];
};

// A threadgroup array: where it begins in the threadgroup's memory.
struct Array {
  unsigned long offset, bytes;
  unsigned granule;
  int line;
};

constexpr unsigned MOST_THREADS = 1024, MOST_ARRAYS = 64, MOST_BUFFERS = 128;
constexpr unsigned long THREADGROUP_LIMIT = 32768, ARRAY_GAP = 256;

extern Fiber fibers[MOST_THREADS];
extern Simdgroup simdgroups[MOST_THREADS / SIMD_WIDTH];
extern Threadgroup group;
extern Array arrays[MOST_ARRAYS];
extern unsigned array_count;
extern void** kernel_buffers;

inline Fiber& current() { return *static_cast<Fiber*>(self); }

// fibers.cpp: runs the threads of `group` until all have returned; false when a fault ended it.
bool map_stacks(unsigned count);
void unmap_stacks();
bool run_threads();
[[noreturn]] void abandon();
bool in_stack(const volatile void* address, bool& guard);

// launch.cpp
Fault& fault(Kind kind, int line);
bool reported(Kind kind, int line, int other_line);
bool report_full();

// memory.cpp: one address range for all buffers, with nothing between them.
bool map_buffers(const Launch& launch, void** addresses);
void copy_back(const Launch& launch, void* const* addresses);
void unmap_buffers();
// Which buffer, or its unmapped surroundings, an address belongs to; -2 where it is none of ours.
constexpr int ELSEWHERE = -2;
int buffer_of(const volatile void* address);
const Launch& launch_of_now();
long offset_in(int buffer, const volatile void* address);
void clear_threadgroup_memory();

// shadow.cpp
#ifdef EMULATOR_CHECKING
bool begin_checks();
void end_checks(bool completed);
#else
inline bool begin_checks() { return true; }
inline void end_checks(bool) {}
#endif

}  // namespace emulator
