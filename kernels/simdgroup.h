// Where an 8x8 simdgroup matrix keeps its elements: each of the 32 lanes holds two neighbours of one row, as
// thread_elements(). This file alone knows the map; a kernel that asks it works under any.

inline uint matrix_row(uint lane) {
  return ((lane / 4) & 4) + (lane / 2) % 4;
}

// Column of the first of the two elements.
inline uint matrix_column(uint lane) {
  return ((lane / 4) & 2) * 2 + (lane % 2) * 2;
}

// Over the four lanes that share a row; every one of them gets the result.
inline float row_sum(float value) {
  value += simd_shuffle_xor(value, ushort(1));
  return value + simd_shuffle_xor(value, ushort(8));
}

inline float row_maximum(float value) {
  value = max(value, simd_shuffle_xor(value, ushort(1)));
  return max(value, simd_shuffle_xor(value, ushort(8)));
}
