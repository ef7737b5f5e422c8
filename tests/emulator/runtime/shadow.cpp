// For each element of writable memory, who wrote it last and who read it since. An access conflicts with a former one of
// another thread unless a barrier that orders this memory lies between them.
#ifdef EMULATOR_CHECKING

#include <sys/mman.h>

#include "state.h"

namespace emulator {

namespace {

// `threadgroup` counts from 1, so that zeroed memory means nobody.
struct Record {
  unsigned threadgroup, epoch, simd_epoch;
  unsigned thread : 17, atomic : 1, line : 14;
};

struct Cell {
  Record writer, readers[2];
};

struct Shadow {
  Cell* cells;
  unsigned long bytes;
};

// The threadgroup's own memory is at 0, buffer n at n + 1.
Shadow shadows[MOST_BUFFERS + 1];

bool map(Shadow& shadow, unsigned long cells) {
  shadow.bytes = cells * sizeof(Cell);
  if (!cells) return true;
  void* memory = mmap(nullptr, shadow.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  shadow.cells = memory == MAP_FAILED ? nullptr : static_cast<Cell*>(memory);
  return shadow.cells;
}

unsigned simdgroup_of(unsigned thread) {
  return thread >= COLLECTIVE_THREAD ? thread - COLLECTIVE_THREAD : thread / SIMD_WIDTH;
}

// An access that is about to happen, to elements of `granule` bytes.
struct Attempt {
  Record record;
  int buffer, accesses;
  long offset;
  unsigned size, granule;
};

bool present(const Record& former, const Attempt& attempt) {
  if (!former.threadgroup) return false;
  return attempt.buffer != THREADGROUP || former.threadgroup == attempt.record.threadgroup;
}

bool conflicts(const Record& former, const Attempt& attempt) {
  const Record& now = attempt.record;
  if (!present(former, attempt) || (former.atomic && now.atomic)) return false;
  if (former.threadgroup != now.threadgroup) return true;
  // A simdgroup as a whole is not even ordered with itself: which lane touched what is unknown.
  if (former.thread == now.thread && now.thread < COLLECTIVE_THREAD) return false;
  if (simdgroup_of(former.thread) == simdgroup_of(now.thread)) return former.simd_epoch >= now.simd_epoch;
  return former.epoch >= now.epoch;
}

// Null where the same lines have been reported: a loop makes its mistake many times.
Fault* new_fault(Kind kind, const Attempt& attempt, int other_line) {
  if (reported(kind, attempt.record.line, other_line)) return nullptr;
  Fault& found = fault(kind, attempt.record.line);
  found.other_line = other_line, found.thread = attempt.record.thread;
  found.buffer = attempt.buffer, found.offset = attempt.offset, found.size = attempt.size;
  found.operation = attempt.accesses & WRITE;
  return &found;
}

void report_race(const Attempt& attempt, const Record& former, int former_accesses) {
  const bool inside = former.threadgroup == attempt.record.threadgroup;
  Fault* found = new_fault(inside ? RACE : RACE_OF_THREADGROUPS, attempt, former.line);
  if (!found) return;
  found->other_thread = former.thread, found->other_threadgroup = former.threadgroup - 1;
  found->other_operation = former_accesses;
  if (report_full()) abandon();
}

void read(Cell& cell, const Attempt& attempt) {
  const bool initialised = attempt.buffer != THREADGROUP && launch_of_now().buffers[attempt.buffer].initialised;
  if (!present(cell.writer, attempt)) {
    if (!initialised) new_fault(UNINITIALISED, attempt, NOWHERE);
  } else if (conflicts(cell.writer, attempt)) {
    report_race(attempt, cell.writer, WRITE);
  }
  for (Record& reader : cell.readers) {
    if (!conflicts(reader, attempt)) {
      reader = attempt.record;
      return;
    }
  }
  // Both stand for readers whom a later writer may meet. Two simdgroups are worth more than two lanes of one.
  const unsigned first = simdgroup_of(cell.readers[0].thread), second = simdgroup_of(cell.readers[1].thread);
  if (first == second && first != simdgroup_of(attempt.record.thread)) cell.readers[1] = attempt.record;
}

void write(Cell& cell, const Attempt& attempt) {
  if (conflicts(cell.writer, attempt)) report_race(attempt, cell.writer, WRITE);
  for (Record& reader : cell.readers) {
    if (conflicts(reader, attempt)) report_race(attempt, reader, READ);
    reader = {};
  }
  cell.writer = attempt.record;
}

[[noreturn]] void report_bounds(Kind kind, const Attempt& attempt) {
  if (Fault* found = new_fault(kind, attempt, NOWHERE)) found->thread = current().thread;
  abandon();
}

// The threadgroup array around an offset; between two of them there is a gap.
const Array* array_at(long offset, unsigned size) {
  for (unsigned i = 0; i < array_count; ++i) {
    const long inside = offset - static_cast<long>(arrays[i].offset);
    if (inside >= 0 && static_cast<unsigned long>(inside) + size <= arrays[i].bytes) return &arrays[i];
  }
  return nullptr;
}

}  // namespace

bool begin_checks() {
  const Launch& launch = launch_of_now();
  if (!map(shadows[0], 2 * THREADGROUP_LIMIT + MOST_ARRAYS * ARRAY_GAP)) return false;
  for (int i = 0; i < launch.buffer_count; ++i) {
    const Buffer& buffer = launch.buffers[i];
    if (buffer.writable && !map(shadows[i + 1], buffer.bytes / buffer.granule)) return false;
  }
  return true;
}

void end_checks(bool completed) {
  const Launch& launch = launch_of_now();
  for (int i = 0; completed && i < launch.buffer_count; ++i) {
    const Buffer& buffer = launch.buffers[i];
    if (!buffer.writable || buffer.initialised) continue;
    Fault* found = nullptr;
    for (unsigned long cell = 0; cell < buffer.bytes / buffer.granule; ++cell) {
      if (shadows[i + 1].cells[cell].writer.threadgroup) continue;
      if (!found) {
        found = &fault(NOT_WRITTEN, NOWHERE);
        found->buffer = i, found->offset = cell * buffer.granule;
      }
      found->size += buffer.granule;
    }
  }
  for (Shadow& shadow : shadows) {
    if (shadow.cells) munmap(shadow.cells, shadow.bytes);
    shadow = {};
  }
}

void record(const volatile void* address, unsigned size, int accesses, int line) {
  Fiber& fiber = current();
  fiber.line = line;
  const int buffer = buffer_of(address);
  if (buffer == ELSEWHERE) return;
  const Launch& launch = launch_of_now();
  const int memory = buffer == THREADGROUP;
  const unsigned simdgroup = fiber.simdgroup - simdgroups;
  Attempt attempt = {{}, buffer, accesses, offset_in(buffer, address), size, 1};
  attempt.record = {group.number + 1, group.epochs[memory], fiber.simdgroup->epochs[memory],
                    accesses & COLLECTIVE ? COLLECTIVE_THREAD + simdgroup : fiber.thread,
                    accesses & ATOMIC ? 1u : 0u, static_cast<unsigned>(line)};
  Cell* cells = shadows[buffer + 1].cells;
  long offset = attempt.offset;
  if (memory) {
    const Array* array = array_at(offset, size);
    if (!array) report_bounds(OUT_OF_BOUNDS, attempt);
    attempt.granule = array->granule;
    // A cell for each byte, of which the array's elements use the first ones: arrays differ in their granules.
    cells += array->offset;
    offset -= array->offset;
  } else {
    if (buffer >= launch.buffer_count || offset < 0 ||
        static_cast<unsigned long>(offset) + size > launch.buffers[buffer].bytes) {
      report_bounds(OUT_OF_BOUNDS, attempt);
    }
    if (!launch.buffers[buffer].writable) {
      if (accesses & WRITE) report_bounds(READ_ONLY, attempt);
      return;
    }
    attempt.granule = launch.buffers[buffer].granule;
  }
  const unsigned long last = (offset + size - 1) / attempt.granule;
  for (unsigned long cell = offset / attempt.granule; cell <= last; ++cell) {
    accesses & WRITE ? write(cells[cell], attempt) : read(cells[cell], attempt);
  }
}

void require_same_address(const volatile void* address, int line) {
  Simdgroup& simdgroup = *current().simdgroup;
  if (!simdgroup.arrived) simdgroup.address = address;
  if (simdgroup.arrived && simdgroup.address != address && simdgroup.line == line) {
    Fault& found = fault(DIFFERENT_ADDRESSES, line);
    found.thread = current().thread, found.other_thread = simdgroup.first;
    abandon();
  }
  meet(MATRIX_OPERATION, 0, line);
}

}  // namespace emulator

#endif
