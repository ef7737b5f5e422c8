#include "rows.h"
// Softmax of scale * x [rows, columns] in which row r sees the columns up to r; one simdgroup a row.
const uint rows = uint(x_shape[0]);
const uint columns = uint(x_shape[1]);
const uint lane = thread_index_in_simdgroup;
const uint row = 4 * threadgroup_position_in_grid.x + simdgroup_index_in_threadgroup;
const device T* scores = x + min(row, rows - 1) * columns;
float parts[PARTS];
float greatest = -INFINITY;
for (uint part = 0; part < PARTS; ++part) {
  const uint column = lane + 32 * part;
  const bool seen = column < columns && column <= row;
  parts[part] = seen ? scale[0] * float(scores[column]) : -INFINITY;
  greatest = max(greatest, parts[part]);
}
greatest = simd_max(greatest);
float sum = 0.0f;
for (uint part = 0; part < PARTS; ++part) {
  parts[part] = exp(parts[part] - greatest);
  sum += parts[part];
}
sum = simd_sum(sum);
for (uint part = 0; part < PARTS; ++part) {
  const uint column = lane + 32 * part;
  if (row < rows && column < columns) {
    y[row * columns + column] = T(quotient(parts[part], sum));
  }
}
