// What the three attention kernels share: tiles of rows in threadgroup memory, and 8x8 float matrices made from them.
// A threadgroup has 128 threads and owns 32 rows, 8 for each of its simdgroups; the tiles stream past them.

// 16 rows where 32 would need more than 8.5 KB.
template <typename T, int K>
inline constexpr int tile_rows() {
  return K * int(sizeof(T)) > 256 ? 16 : 32;
}

// Elements from one row to the next: 16 bytes of padding keep the rows of a matrix in different banks.
template <typename T, int K>
inline constexpr int tile_stride() {
  return K + 16 / int(sizeof(T));
}

// Fills a tile with rows that lie `step` elements apart; those from `count` on become zero.
template <typename T, int K>
inline void fill_tile(threadgroup T* tile, const device T* source, int step, int count, int index) {
  constexpr int chunks = K / 4;
  for (int chunk = index; chunk < tile_rows<T, K>() * chunks; chunk += 128) {
    const int row = chunk / chunks;
    const int column = 4 * (chunk % chunks);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      tile[row * tile_stride<T, K>() + column + i] = row < count ? T(source[row * step + column + i]) : T(0.0f);
    }
  }
}

// The matrix whose first element is at `corner` of a tile.
template <typename T, int K>
inline simdgroup_float8x8 tile_matrix(const threadgroup T* corner, uint lane) {
  const threadgroup T* element = corner + int(matrix_row(lane)) * tile_stride<T, K>() + int(matrix_column(lane));
  simdgroup_float8x8 result;
  result.thread_elements()[0] = float(element[0]);
  result.thread_elements()[1] = float(element[1]);
  return result;
}

// Its transpose.
template <typename T, int K>
inline simdgroup_float8x8 tile_matrix_transposed(const threadgroup T* corner, uint lane) {
  const threadgroup T* element = corner + int(matrix_column(lane)) * tile_stride<T, K>() + int(matrix_row(lane));
  simdgroup_float8x8 result;
  result.thread_elements()[0] = float(element[0]);
  result.thread_elements()[1] = float(element[tile_stride<T, K>()]);
  return result;
}

// The matrix of 8 rows that lie `step` elements apart in device memory; those from `count` on are zero.
template <typename T>
inline simdgroup_float8x8 device_matrix(const device T* corner, int step, int count, uint lane) {
  const int row = int(matrix_row(lane));
  const int first = row * step + int(matrix_column(lane));
  simdgroup_float8x8 result;
  result.thread_elements()[0] = row < count ? float(corner[first]) : 0.0f;
  result.thread_elements()[1] = row < count ? float(corner[first + 1]) : 0.0f;
  return result;
}

// Stores `factor` times the matrix, its rows `step` elements apart; those from `count` on are left out.
template <typename T>
inline void store_matrix(simdgroup_float8x8 matrix, float factor, device T* corner, int step, int count, uint lane) {
  const int row = int(matrix_row(lane));
  const int first = row * step + int(matrix_column(lane));
  if (row < count) {
    corner[first] = T(factor * matrix.thread_elements()[0]);
    corner[first + 1] = T(factor * matrix.thread_elements()[1]);
  }
}
