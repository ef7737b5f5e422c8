// The functions that a compiler calls before each load and store (-fsanitize=thread), and where C++ leaves a result open
// (-fsanitize=undefined): here they are the emulator's. The line of each access is put in by instrumentation.py.
#ifdef EMULATOR_CHECKING

#include "state.h"

using emulator::READ;
using emulator::WRITE;

namespace {

// How the compiler describes a place in the source; the description of every finding begins with it.
struct Location {
  const char* file;
  unsigned line, column;
};

struct TypeMismatch {
  Location location;
  const void* type;
  unsigned char log_alignment, kind;
};

bool in_kernel(const Location& location) {
  const char* own = "kernel.metal";
  const unsigned long length = __builtin_strlen(location.file), expected = __builtin_strlen(own);
  return length >= expected && __builtin_strcmp(location.file + length - expected, own) == 0;
}

// A place in the runtime's headers is told by the last line of the kernel that was seen.
int line_of(const Location& location) {
  return in_kernel(location) ? static_cast<int>(location.line) : emulator::current().line;
}

void report_undefined(const void* data, const char* detail) {
  const int line = line_of(*static_cast<const Location*>(data));
  if (emulator::reported(emulator::UNDEFINED, line, emulator::NOWHERE)) return;
  emulator::Fault& found = emulator::fault(emulator::UNDEFINED, line);
  found.detail = detail, found.thread = emulator::current().thread;
}

void report_misaligned(const void* address, int line) {
  emulator::Fault& found = emulator::fault(emulator::MISALIGNED, line);
  found.buffer = emulator::buffer_of(address);
  if (found.buffer != emulator::ELSEWHERE) found.offset = emulator::offset_in(found.buffer, address);
}

// An access that the compiler takes for aligned: clang copies a vector without asking the sanitizer whether it is.
void record_aligned(const void* address, unsigned long size, int access, int line) {
  const bool aligned = reinterpret_cast<unsigned long>(address) % size == 0;
  if (!aligned && !emulator::reported(emulator::MISALIGNED, line, emulator::NOWHERE)) report_misaligned(address, line);
  emulator::record(address, size, access, line);
}

}  // namespace

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define EMULATOR_ACCESS(size)                                                                                       \
  void __tsan_read##size(void* address, int line) { record_aligned(address, size, READ, line); }                   \
  void __tsan_write##size(void* address, int line) { record_aligned(address, size, WRITE, line); }                 \
  void __tsan_unaligned_read##size(void* address, int line) { emulator::record(address, size, READ, line); }       \
  void __tsan_unaligned_write##size(void* address, int line) { emulator::record(address, size, WRITE, line); }     \
  void __tsan_volatile_read##size(void* address, int line) { emulator::record(address, size, READ, line); }        \
  void __tsan_volatile_write##size(void* address, int line) { emulator::record(address, size, WRITE, line); }      \
  void __tsan_read_write##size(void* address, int line) {                                                          \
    emulator::record(address, size, READ, line);                                                                   \
    emulator::record(address, size, WRITE, line);                                                                  \
  }                                                                                                                 \
  void __tsan_unaligned_read_write##size(void* address, int line) { __tsan_read_write##size(address, line); }
EMULATOR_ACCESS(1)
EMULATOR_ACCESS(2)
EMULATOR_ACCESS(4)
EMULATOR_ACCESS(8)
EMULATOR_ACCESS(16)

void __tsan_read_range(void* address, unsigned long size, int line) { emulator::record(address, size, READ, line); }
void __tsan_write_range(void* address, unsigned long size, int line) { emulator::record(address, size, WRITE, line); }

void* __tsan_memcpy(void* target, const void* source, unsigned long size, int line) {
  if (size) emulator::record(source, size, READ, line), emulator::record(target, size, WRITE, line);
  return __builtin_memmove(target, source, size);
}
void* __tsan_memmove(void* target, const void* source, unsigned long size, int line) {
  return __tsan_memcpy(target, source, size, line);
}
void* __tsan_memset(void* target, int value, unsigned long size, int line) {
  if (size) emulator::record(target, size, WRITE, line);
  return __builtin_memset(target, value, size);
}

void __ubsan_handle_add_overflow(void* data, void*, void*) { report_undefined(data, "signed overflow of a sum"); }
void __ubsan_handle_sub_overflow(void* data, void*, void*) { report_undefined(data, "signed overflow of a difference"); }
void __ubsan_handle_mul_overflow(void* data, void*, void*) { report_undefined(data, "signed overflow of a product"); }
void __ubsan_handle_negate_overflow(void* data, void*) { report_undefined(data, "signed overflow of a negation"); }
void __ubsan_handle_shift_out_of_bounds(void* data, void*, void*) {
  report_undefined(data, "shift by less than 0, or by the width or more");
}
// The access or division behind these would end the process: the launch ends here.
void __ubsan_handle_divrem_overflow(void* data, void*, void*) {
  report_undefined(data, "integer division by zero");
  emulator::abandon();
}
void __ubsan_handle_out_of_bounds(void* data, void*) {
  report_undefined(data, "index outside of an array");
  emulator::abandon();
}
void __ubsan_handle_type_mismatch_v1(void* data, void* address) {
  const TypeMismatch& mismatch = *static_cast<const TypeMismatch*>(data);
  const unsigned long alignment = 1ul << mismatch.log_alignment;
  if (!address || reinterpret_cast<unsigned long>(address) % alignment == 0) {
    report_undefined(data, "access through a null pointer");
    emulator::abandon();
  }
  // A member of a vector is checked again, in the runtime's headers; the kernel's own line has come first.
  const bool own = in_kernel(mismatch.location);
  if (emulator::reported(emulator::MISALIGNED, own ? int(mismatch.location.line) : emulator::ANY, emulator::NOWHERE)) return;
  report_misaligned(address, line_of(mismatch.location));
}

}  // extern "C"

#endif
