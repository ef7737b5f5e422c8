#include "simdgroup.h"
#include "attention.h"
// Output and log-sum-exp of 32 queries of one head, with the running maximum of an online softmax.
// Scores count in powers of two: a weight is exp2(s - L), s = scale log2(e) q.k. The log-sum-exp L is kept as the
// largest score and the logarithm of the sum above it: added up, scores near 1000 would round the small part away.
constexpr int rows = tile_rows<T, K>();
constexpr int stride = tile_stride<T, K>();
threadgroup T key_tile[rows * stride];
threadgroup T value_tile[rows * stride];

const int length = query_shape[1];
const int heads = query_shape[2];
const int groups = key_shape[2];
const int head = int(threadgroup_position_in_grid.x);
// The longest blocks first: short ones fill the gaps at the end.
const int block = int(threadgroups_per_grid.y) - 1 - int(threadgroup_position_in_grid.y);
const int batch = int(threadgroup_position_in_grid.z);
const int index = int(thread_position_in_threadgroup.x);
const uint lane = thread_index_in_simdgroup;

const int first_row = 32 * block + 8 * int(simdgroup_index_in_threadgroup);
const int row = first_row + int(matrix_row(lane));
const int present = length - first_row;
const int query_step = heads * K;
const int key_step = groups * K;
const ulong query_start = ((ulong(batch) * ulong(length) + ulong(first_row)) * ulong(heads) + ulong(head)) * K;
const ulong key_start = (ulong(batch) * ulong(length) * ulong(groups) + ulong(head / (heads / groups))) * K;
const float factor = scale[0] * M_LOG2E_F;

simdgroup_float8x8 query_rows[K / 8];
simdgroup_float8x8 mixed[K / 8];
#pragma unroll
for (int c = 0; c < K / 8; c++) {
  query_rows[c] = device_matrix(query + query_start + 8 * c, query_step, present, lane);
  mixed[c] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
}
// The sum is of this lane's own columns until the end.
float largest = -INFINITY;
float sum = 0.0f;

const int key_end = min(32 * block + 32, length);
for (int first_key = 0; first_key < key_end; first_key += rows) {
  const ulong tile_start = key_start + ulong(first_key) * ulong(key_step);
  fill_tile<T, K>(key_tile, key + tile_start, key_step, length - first_key, index);
  fill_tile<T, K>(value_tile, value + tile_start, key_step, length - first_key, index);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  simdgroup_float8x8 scores[rows / 8];
#pragma unroll
  for (int j = 0; j < rows / 8; j++) {
    scores[j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
#pragma unroll
  for (int c = 0; c < K / 8; c++) {
#pragma unroll
    for (int j = 0; j < rows / 8; j++) {
      simdgroup_float8x8 keys = tile_matrix_transposed<T, K>(key_tile + 8 * j * stride + 8 * c, lane);
      simdgroup_multiply_accumulate(scores[j], query_rows[c], keys, scores[j]);
    }
  }

  // Every row sees key 0, so the maximum is finite from the first tile on; keys beyond the end are beyond every row.
  const bool masked = first_key + rows > first_row + 1;
  const int last = masked ? row - first_key - int(matrix_column(lane)) : rows;
  float new_largest = largest;
#pragma unroll
  for (int j = 0; j < rows / 8; j++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const float score = 8 * j + i <= last ? factor * scores[j].thread_elements()[i] : -INFINITY;
      new_largest = max(new_largest, score);
    }
  }
  new_largest = row_maximum(new_largest);
  const float shrink = exp2(largest - new_largest);
  largest = new_largest;
  sum *= shrink;
#pragma unroll
  for (int j = 0; j < rows / 8; j++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const float score = fma(factor, scores[j].thread_elements()[i], -largest);
      const float weight = 8 * j + i <= last ? exp2(score) : 0.0f;
      scores[j].thread_elements()[i] = weight;
      sum += weight;
    }
  }
#pragma unroll
  for (int c = 0; c < K / 8; c++) {
    mixed[c].thread_elements()[0] *= shrink;
    mixed[c].thread_elements()[1] *= shrink;
#pragma unroll
    for (int j = 0; j < rows / 8; j++) {
      simdgroup_float8x8 values = tile_matrix<T, K>(value_tile + 8 * j * stride + 8 * c, lane);
      simdgroup_multiply_accumulate(mixed[c], scores[j], values, mixed[c]);
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

sum = row_sum(sum);
#pragma unroll
for (int c = 0; c < K / 8; c++) {
  store_matrix(mixed[c], 1.0f / sum, output + query_start + 8 * c, query_step, present, lane);
}
if (row < length && matrix_column(lane) == 0) {
  const ulong statistic = (ulong(batch) * ulong(heads) + ulong(head)) * ulong(length) + ulong(row);
  log_sum_exp[2 * statistic] = largest;
  log_sum_exp[2 * statistic + 1] = log2(sum);
}
