#include "simdgroup.h"
// z = alpha * x y, for x [rows, inner] and y [inner, columns]: a threadgroup owns 32 x 16 of z, a simdgroup 8 x 16.
constexpr int stride = 20;
threadgroup float left[32 * stride];
threadgroup float right[16 * stride];
const int rows = x_shape[0];
const int inner = x_shape[1];
const int columns = y_shape[1];
const int first_column = 16 * int(threadgroup_position_in_grid.x);
const int first_row = 32 * int(threadgroup_position_in_grid.y);
const int index = int(thread_position_in_threadgroup.x);
const int group = int(simdgroup_index_in_threadgroup);
const uint lane = thread_index_in_simdgroup;
simdgroup_float8x8 sums[2];
sums[0] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
sums[1] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
for (int start = 0; start < inner; start += 16) {
  for (int i = index; i < 32 * 16; i += 128) {
    const int row = first_row + i / 16;
    const int k = start + i % 16;
    left[(i / 16) * stride + i % 16] = row < rows && k < inner ? float(x[row * inner + k]) : 0.0f;
  }
  for (int i = index; i < 16 * 16; i += 128) {
    const int k = start + i / 16;
    const int column = first_column + i % 16;
    right[(i / 16) * stride + i % 16] = k < inner && column < columns ? float(y[k * columns + column]) : 0.0f;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int k = 0; k < 16; k += 8) {
    simdgroup_float8x8 a;
    simdgroup_load(a, left + 8 * group * stride + k, stride);
    for (int j = 0; j < 2; j++) {
      simdgroup_float8x8 b;
      simdgroup_load(b, right + k * stride + 8 * j, stride);
      simdgroup_multiply_accumulate(sums[j], a, b, sums[j]);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}
const int row = first_row + 8 * group + int(matrix_row(lane));
for (int j = 0; j < 2; j++) {
  for (int i = 0; i < 2; i++) {
    const int column = first_column + 8 * j + int(matrix_column(lane)) + i;
    if (row < rows && column < columns) {
      z[row * columns + column] = T(alpha[0] * sums[j].thread_elements()[i]);
    }
  }
}
