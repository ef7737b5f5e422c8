// Buffers in one reserved range of addresses, each far from the next and ending where nothing is mapped, so that an
// access past its end, in any build, does not pass silently.
#include <string.h>
#include <sys/mman.h>

#include "state.h"

namespace emulator {

Array arrays[MOST_ARRAYS];
unsigned array_count;

namespace {

constexpr unsigned long RANGE_BYTES = 1ul << 30, PAGE = 65536, ALIGNMENT = 16;
constexpr unsigned long RESERVED = (MOST_BUFFERS + 1) * RANGE_BYTES;
// In the middle of a range lies what is mapped.
constexpr unsigned long MIDDLE = RANGE_BYTES / 2;
constexpr unsigned long THREADGROUP_MAPPED = 2 * PAGE;

char* reserved;
const Launch* now;
char* starts[MOST_BUFFERS];
unsigned long used;

unsigned long pages(unsigned long bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

bool map(char* start, unsigned long bytes) {
  return mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1, 0) != MAP_FAILED;
}

char* range(int buffer) { return reserved + (buffer + 1) * RANGE_BYTES + MIDDLE; }

}  // namespace

bool map_buffers(const Launch& launch, void** addresses) {
  void* memory = mmap(nullptr, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  reserved = static_cast<char*>(memory);
  if (!map(range(THREADGROUP), THREADGROUP_MAPPED)) return false;
  now = &launch, array_count = 0, used = 0;
  for (int i = 0; i < launch.buffer_count; ++i) {
    const Buffer& buffer = launch.buffers[i];
    // An empty buffer gets a place, too.
    const unsigned long rounded = (buffer.bytes + !buffer.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (rounded + launch.slack > MIDDLE || !map(range(i), pages(rounded) + pages(launch.slack))) return false;
    starts[i] = range(i) + pages(rounded) - rounded;
    memcpy(starts[i], buffer.data, buffer.bytes);
    if (!buffer.writable) mprotect(range(i), pages(rounded), PROT_READ);
    addresses[i] = starts[i];
  }
  return true;
}

void copy_back(const Launch& launch, void* const* addresses) {
  for (int i = 0; i < launch.buffer_count; ++i) {
    if (launch.buffers[i].writable) memcpy(launch.buffers[i].data, addresses[i], launch.buffers[i].bytes);
  }
}

void unmap_buffers() {
  if (reserved) munmap(reserved, RESERVED);
  reserved = nullptr;
}

int buffer_of(const volatile void* address) {
  const unsigned long distance = static_cast<const volatile char*>(address) - reserved;
  if (!reserved || distance >= RESERVED) return ELSEWHERE;
  return static_cast<int>(distance / RANGE_BYTES) - 1;
}

long offset_in(int buffer, const volatile void* address) {
  return static_cast<const volatile char*>(address) - (buffer == THREADGROUP ? range(buffer) : starts[buffer]);
}

const Launch& launch_of_now() { return *now; }

// All ones are a NaN in every floating type.
void clear_threadgroup_memory() { memset(range(THREADGROUP), 0xff, used); }

void* threadgroup_memory(unsigned long bytes, unsigned long alignment, unsigned granule, int line) {
  Fiber& fiber = current();
  const unsigned index = fiber.arrays++;
  if (index == array_count) {
    unsigned long sum = bytes;
    for (unsigned i = 0; i < array_count; ++i) sum += arrays[i].bytes;
    if (sum > THREADGROUP_LIMIT || index == MOST_ARRAYS) {
      Fault& found = fault(TOO_MUCH_MEMORY, line);
      found.size = sum;
      abandon();
    }
    if (alignment < ALIGNMENT) alignment = ALIGNMENT;
    const unsigned long offset = (used + alignment - 1) / alignment * alignment;
    arrays[array_count++] = {offset, bytes, granule, line};
    memset(range(THREADGROUP) + offset, 0xff, bytes);
    used = offset + bytes + ARRAY_GAP;
  } else if (arrays[index].line != line || arrays[index].bytes != bytes) {
    Fault& found = fault(DIFFERENT_ARRAYS, line);
    found.thread = fiber.thread, found.other_line = arrays[index].line;
    abandon();
  }
  return range(THREADGROUP) + arrays[index].offset;
}

}  // namespace emulator
