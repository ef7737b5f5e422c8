// The sum of each column of x [rows, columns]: a threadgroup owns 32 columns, its simdgroups share the rows.
threadgroup float partial[128];
const uint rows = uint(x_shape[0]);
const uint columns = uint(x_shape[1]);
const uint lane = thread_index_in_simdgroup;
const uint group = simdgroup_index_in_threadgroup;
const uint column = 32 * threadgroup_position_in_grid.x + lane;
float sum = 0.0f;
for (uint row = group; row < rows; row += 4) {
  if (column < columns) {
    sum += float(x[row * columns + column]);
  }
}
partial[32 * group + lane] = sum;
threadgroup_barrier(mem_flags::mem_threadgroup);
if (group == 0) {
  for (uint other = 1; other < 4; ++other) {
    sum += partial[32 * other + lane];
  }
  if (column < columns) {
    y[column] = T(sum);
  }
}
