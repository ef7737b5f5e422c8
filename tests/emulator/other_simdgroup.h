// In place of kernels/simdgroup.h: row r lies in the lanes 4 r to 4 r + 3.
inline uint matrix_row(uint lane) {
  return lane / 4;
}

inline uint matrix_column(uint lane) {
  return lane % 4 * 2;
}

inline float row_sum(float value) {
  value += simd_shuffle_xor(value, ushort(1));
  return value + simd_shuffle_xor(value, ushort(2));
}

inline float row_maximum(float value) {
  value = max(value, simd_shuffle_xor(value, ushort(1)));
  return max(value, simd_shuffle_xor(value, ushort(2)));
}
