// y [columns, rows] is the transpose of x [rows, columns], by way of a tile of 32 x 32.
constexpr uint stride = 33;
threadgroup T tile[32 * stride];
const uint rows = uint(x_shape[0]);
const uint columns = uint(x_shape[1]);
const uint first_column = 32 * threadgroup_position_in_grid.x;
const uint first_row = 32 * threadgroup_position_in_grid.y;
const uint lane = thread_index_in_simdgroup;
const uint group = simdgroup_index_in_threadgroup;
for (uint i = group; i < 32; i += 4) {
  const bool inside = first_row + i < rows && first_column + lane < columns;
  tile[i * stride + lane] = inside ? x[(first_row + i) * columns + first_column + lane] : T(0.0f);
}
threadgroup_barrier(mem_flags::mem_threadgroup);
for (uint i = group; i < 32; i += 4) {
  if (first_column + i < columns && first_row + lane < rows) {
    y[(first_column + i) * rows + first_row + lane] = tile[lane * stride + i];
  }
}
