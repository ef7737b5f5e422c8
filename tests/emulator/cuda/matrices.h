// 8x8 simdgroup matrices: each lane holds two neighbours of one row. WITNESS_LANE_MAP chooses where: 0 as on Apple's
// GPUs, 1 another map, under which a text that asks `matrix_row` and `matrix_column` gives the same results.

#pragma once

namespace witness {

using metal::uint;

#if WITNESS_LANE_MAP == 0
inline uint row_of(uint lane) { return ((lane / 4) & 4) + (lane / 2) % 4; }
inline uint column_of(uint lane) { return ((lane / 4) & 2) * 2 + (lane % 2) * 2; }
inline uint lane_of(uint row, uint column) {
  return (row & 4) * 4 + (row % 4) * 2 + (column & 4) * 2 + (column / 2) % 2;
}
#else
inline uint row_of(uint lane) { return lane / 4; }
inline uint column_of(uint lane) { return (lane % 4) * 2; }
inline uint lane_of(uint row, uint column) { return row * 4 + column / 2; }
#endif

}  // namespace witness

namespace metal {

template <typename T, int Columns, int Rows>
struct simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8, "simdgroup matrices are 8x8");
  vec<T, 2> elements;
  simdgroup_matrix() = default;
  // A diagonal matrix, as in Metal.
  explicit simdgroup_matrix(T diagonal) {
    uint row = witness::row_of(witness::lane()), column = witness::column_of(witness::lane());
    for (uint i = 0; i < 2; i++) elements[i] = row == column + i ? diagonal : T(0);
  }
  inline vec<T, 2>& thread_elements() { return elements; }
  inline const vec<T, 2>& thread_elements() const { return elements; }
};

using simdgroup_float8x8 = simdgroup_matrix<float, 8, 8>;
using simdgroup_half8x8 = simdgroup_matrix<half, 8, 8>;
using simdgroup_bfloat8x8 = simdgroup_matrix<bfloat, 8, 8>;

template <typename T, int Columns, int Rows>
inline simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T value) {
  simdgroup_matrix<T, Columns, Rows> result;
  result.elements = vec<T, 2>(value);
  return result;
}

template <typename T>
inline void simdgroup_load(simdgroup_matrix<T, 8, 8>& matrix, const T* source, ulong elements_per_row = 8,
                           ulong2 origin = ulong2(0), bool transposed = false) {
  uint row = witness::row_of(witness::lane()), column = witness::column_of(witness::lane());
  for (uint i = 0; i < 2; i++) {
    ulong down = transposed ? column + i : row, right = transposed ? row : column + i;
    matrix.elements[i] = source[(origin.y + down) * elements_per_row + origin.x + right];
  }
}

template <typename T>
inline void simdgroup_store(const simdgroup_matrix<T, 8, 8>& matrix, T* target, ulong elements_per_row = 8,
                            ulong2 origin = ulong2(0), bool transposed = false) {
  uint row = witness::row_of(witness::lane()), column = witness::column_of(witness::lane());
  for (uint i = 0; i < 2; i++) {
    ulong down = transposed ? column + i : row, right = transposed ? row : column + i;
    target[(origin.y + down) * elements_per_row + origin.x + right] = matrix.elements[i];
  }
}

}  // namespace metal

namespace witness {

// This lane's part of A B + C in float; the operands are read from the lanes that hold them. A call of its own, since
// kernels repeat it often enough to keep the compiler busy for seconds.
template <typename A, typename B>
__noinline__ metal::float2 multiply_accumulate(metal::vec<A, 2> a, metal::vec<B, 2> b, metal::float2 sum) {
  uint row = row_of(lane()), column = column_of(lane());
  for (uint k = 0; k < 8; k += 2) {
    metal::vec<A, 2> left = read_lane(a, lane_of(row, k));
    for (uint j = 0; j < 2; j++) {
      metal::vec<B, 2> right = read_lane(b, lane_of(k + j, column));
      for (uint i = 0; i < 2; i++) sum[i] = ::fmaf(float(left[j]), float(right[i]), sum[i]);
    }
  }
  return sum;
}

}  // namespace witness

namespace metal {

// D = A B + C.
template <typename D, typename A, typename B, typename C>
inline void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& result, const simdgroup_matrix<A, 8, 8>& a,
                                          const simdgroup_matrix<B, 8, 8>& b, const simdgroup_matrix<C, 8, 8>& c) {
  result.elements = vec<D, 2>(witness::multiply_accumulate(a.elements, b.elements, float2(c.elements)));
}

template <typename D, typename A, typename B>
inline void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& result, const simdgroup_matrix<A, 8, 8>& a,
                               const simdgroup_matrix<B, 8, 8>& b) {
  simdgroup_multiply_accumulate(result, a, b, make_filled_simdgroup_matrix<D, 8, 8>(D(0)));
}

}  // namespace metal
