// The mean of each block of 128 numbers, by way of squares kept in device memory: squares [blocks, 128], means [blocks].
threadgroup float sums[4];
const uint index = thread_position_in_threadgroup.x;
const uint block = threadgroup_position_in_grid.x;
const uint place = 128 * block + index;
squares[place] = x[place] * x[place];
threadgroup_barrier(mem_flags::mem_device);
const uint opposite = 128 * block + 127 - index;
const float sum = simd_sum(squares[opposite]);
if (thread_index_in_simdgroup == 0) {
  sums[simdgroup_index_in_threadgroup] = sum;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
if (index == 0) {
  means[block] = (sums[0] + sums[1] + sums[2] + sums[3]) / float(x_shape[1]);
}
