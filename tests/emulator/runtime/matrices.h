// simdgroup_matrix, 8 by 8: each lane holds two neighbours of one row. Which ones is the lane map; Apple's is known from
// what others measured, so a kernel must not lean on it, and a second map (EMULATOR_OTHER_LANE_MAP) shows whether it does.
#pragma once

#include "simd_operations.h"

namespace emulator {

#ifdef EMULATOR_OTHER_LANE_MAP
EMULATOR_INLINE unsigned row_of(unsigned lane) { return lane / 4; }
EMULATOR_INLINE unsigned column_of(unsigned lane) { return lane % 4 * 2; }
#else
EMULATOR_INLINE unsigned row_of(unsigned lane) { return ((lane / 4) & 4) + (lane / 2) % 4; }
EMULATOR_INLINE unsigned column_of(unsigned lane) { return ((lane / 4) & 2) * 2 + (lane % 2) * 2; }
#endif

}  // namespace emulator

namespace metal {

template <class T, int columns, int rows>
struct simdgroup_matrix {
  static_assert(columns == 8 && rows == 8, "a simdgroup matrix is 8 by 8");
  typedef vec<T, 2> storage;
  storage elements;
  simdgroup_matrix() = default;
  // A diagonal matrix, as in Metal.
  EMULATOR_INLINE explicit simdgroup_matrix(T value) {
    const unsigned row = emulator::row_of(emulator::lane()), column = emulator::column_of(emulator::lane());
    elements[0] = row == column ? value : T(0);
    elements[1] = row == column + 1 ? value : T(0);
  }
  EMULATOR_INLINE storage& thread_elements() { return elements; }
  EMULATOR_INLINE const storage& thread_elements() const { return elements; }
};

typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

template <class T, int columns, int rows>
EMULATOR_INLINE simdgroup_matrix<T, columns, rows> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, columns, rows> result;
  result.elements[0] = result.elements[1] = value;
  return result;
}

}  // namespace metal

namespace emulator {

// Where this lane's element at column + `next` lies; the origin is (column, row) in the matrix as memory has it.
template <class P>
EMULATOR_INLINE P element(P base, unsigned long stride, metal::ulong2 origin, bool transposed, unsigned next) {
  unsigned long row = row_of(lane()), column = column_of(lane()) + next;
  return base + (origin.y + (transposed ? column : row)) * stride + origin.x + (transposed ? row : column);
}

}  // namespace emulator

namespace metal {

// Not instrumented: the whole simdgroup makes the access, whichever lane happens to touch an element here.
template <class T>
__attribute__((noinline, no_sanitize("thread", "undefined"))) void simdgroup_load(
    simdgroup_matrix<T, 8, 8>& matrix, const T* source, ulong stride = 8, ulong2 origin = ulong2(0),
    bool transposed = false, EMULATOR_LINE) {
  emulator::require_same_address(source, line);
  for (unsigned next = 0; next < 2; ++next) {
    const T* from = emulator::element(source, stride, origin, transposed, next);
    emulator::record(from, sizeof(T), emulator::READ | emulator::COLLECTIVE, line);
    __builtin_memcpy(&matrix.elements.elements[next], from, sizeof(T));
  }
}

template <class T>
__attribute__((noinline, no_sanitize("thread", "undefined"))) void simdgroup_store(
    const simdgroup_matrix<T, 8, 8>& matrix, T* target, ulong stride = 8, ulong2 origin = ulong2(0),
    bool transposed = false, EMULATOR_LINE) {
  emulator::require_same_address(target, line);
  for (unsigned next = 0; next < 2; ++next) {
    T* to = emulator::element(target, stride, origin, transposed, next);
    emulator::record(to, sizeof(T), emulator::WRITE | emulator::COLLECTIVE, line);
    __builtin_memcpy(to, &matrix.elements.elements[next], sizeof(T));
  }
}

// Products and sums in float, in the order of the columns; what Apple's hardware does inside is not documented.
template <class D, class A, class B, class C>
EMULATOR_INLINE void simdgroup_multiply_accumulate(
    simdgroup_matrix<D, 8, 8>& result, const simdgroup_matrix<A, 8, 8>& a, const simdgroup_matrix<B, 8, 8>& b,
    const simdgroup_matrix<C, 8, 8>& c, EMULATOR_LINE) {
  struct alignas(16) Pair {
    float a[2], b[2];
  };
  const unsigned row = emulator::row_of(emulator::lane()), column = emulator::column_of(emulator::lane());
  // In the order of the matrix, not of the lanes: slot 4 r + c / 2 holds the elements (r, c) and (r, c + 1).
  Pair* pairs = reinterpret_cast<Pair*>(emulator::slots());
  pairs[4 * row + column / 2] = {{a.elements[0], a.elements[1]}, {b.elements[0], b.elements[1]}};
  emulator::meet(emulator::MATRIX_OPERATION, 0, line);
  float left = c.elements[0], right = c.elements[1];
  for (unsigned k = 0; k < 8; ++k) {
    const float factor = pairs[4 * row + k / 2].a[k % 2];
    left += factor * pairs[4 * k + column / 2].b[0];
    right += factor * pairs[4 * k + column / 2].b[1];
  }
  result.elements[0] = D(left);
  result.elements[1] = D(right);
}

template <class D, class A, class B>
EMULATOR_INLINE void simdgroup_multiply(
    simdgroup_matrix<D, 8, 8>& result, const simdgroup_matrix<A, 8, 8>& a, const simdgroup_matrix<B, 8, 8>& b,
    EMULATOR_LINE) {
  simdgroup_multiply_accumulate(result, a, b, make_filled_simdgroup_matrix<D, 8, 8>(D(0)), line);
}

}  // namespace metal
