#include "simdgroup.h"
#include "attention.h"
// Gradient of 32 queries of one head, and delta = rowsum(dO O), which the gradient of keys and values needs too.
// P = exp2(s - L), dS = P (dO V^T - delta), dQ = scale dS K.
constexpr int rows = tile_rows<T, K>();
constexpr int stride = tile_stride<T, K>();
// Wider rows would crowd the registers: they are read again for every tile.
constexpr bool kept = K <= 64;
// An O rounded to 16 bits biases delta (Qiu and Yao 2025, arXiv 2510.04212), and rows of dS no longer add up to 0:
// what they add up to is kept, and P K with it, to take the error out at the end.
constexpr bool rounded = sizeof(T) < sizeof(float);
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
const ulong statistic = (ulong(batch) * ulong(heads) + ulong(head)) * ulong(length) + ulong(row);
const float factor = scale[0] * M_LOG2E_F;

simdgroup_float8x8 query_rows[kept ? K / 8 : 1];
simdgroup_float8x8 cotangent_rows[kept ? K / 8 : 1];
simdgroup_float8x8 gradient[K / 8];
simdgroup_float8x8 mean_key[rounded ? K / 8 : 1];
float row_delta = 0.0f;
#pragma unroll
for (int c = 0; c < K / 8; c++) {
  const int at = kept ? c : 0;
  query_rows[at] = device_matrix(query + query_start + 8 * c, query_step, present, lane);
  cotangent_rows[at] = device_matrix(cotangent + query_start + 8 * c, query_step, present, lane);
  gradient[c] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  mean_key[rounded ? c : 0] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_float8x8 mixed = device_matrix(output + query_start + 8 * c, query_step, present, lane);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    row_delta += cotangent_rows[at].thread_elements()[i] * mixed.thread_elements()[i];
  }
}
row_delta = row_sum(row_delta);
float excess = 0.0f;
const float largest = row < length ? log_sum_exp[2 * statistic] : 0.0f;
const float log_sum = row < length ? log_sum_exp[2 * statistic + 1] : 0.0f;

const int key_end = min(32 * block + 32, length);
for (int first_key = 0; first_key < key_end; first_key += rows) {
  const ulong tile_start = key_start + ulong(first_key) * ulong(key_step);
  fill_tile<T, K>(key_tile, key + tile_start, key_step, length - first_key, index);
  fill_tile<T, K>(value_tile, value + tile_start, key_step, length - first_key, index);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  simdgroup_float8x8 scores[rows / 8];
  simdgroup_float8x8 weight_gradients[rows / 8];
#pragma unroll
  for (int j = 0; j < rows / 8; j++) {
    scores[j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    weight_gradients[j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
#pragma unroll
  for (int c = 0; c < K / 8; c++) {
    const int at = kept ? c : 0;
    if (!kept) {
      query_rows[at] = device_matrix(query + query_start + 8 * c, query_step, present, lane);
      cotangent_rows[at] = device_matrix(cotangent + query_start + 8 * c, query_step, present, lane);
    }
#pragma unroll
    for (int j = 0; j < rows / 8; j++) {
      simdgroup_float8x8 keys = tile_matrix_transposed<T, K>(key_tile + 8 * j * stride + 8 * c, lane);
      simdgroup_multiply_accumulate(scores[j], query_rows[at], keys, scores[j]);
      simdgroup_float8x8 values = tile_matrix_transposed<T, K>(value_tile + 8 * j * stride + 8 * c, lane);
      simdgroup_multiply_accumulate(weight_gradients[j], cotangent_rows[at], values, weight_gradients[j]);
    }
  }

  // From here on `scores` holds P and `weight_gradients` dS; an explicit 0 where masked, whatever the products are.
  const bool masked = first_key + rows > first_row + 1;
  const int last = masked ? row - first_key - int(matrix_column(lane)) : rows;
#pragma unroll
  for (int j = 0; j < rows / 8; j++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const bool seen = 8 * j + i <= last;
      const float score = fma(factor, scores[j].thread_elements()[i], -largest) - log_sum;
      const float weight = seen ? exp2(score) : 0.0f;
      const float difference = weight_gradients[j].thread_elements()[i] - row_delta;
      const float score_gradient = seen ? weight * difference : 0.0f;
      scores[j].thread_elements()[i] = weight;
      weight_gradients[j].thread_elements()[i] = score_gradient;
      excess += score_gradient;
    }
  }
#pragma unroll
  for (int c = 0; c < K / 8; c++) {
#pragma unroll
    for (int j = 0; j < rows / 8; j++) {
      simdgroup_float8x8 keys = tile_matrix<T, K>(key_tile + 8 * j * stride + 8 * c, lane);
      simdgroup_multiply_accumulate(gradient[c], weight_gradients[j], keys, gradient[c]);
      if (rounded) {
        simdgroup_multiply_accumulate(mean_key[rounded ? c : 0], scores[j], keys, mean_key[rounded ? c : 0]);
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

if (rounded) {
  excess = row_sum(excess);
  row_delta += excess;
#pragma unroll
  for (int c = 0; c < K / 8; c++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      gradient[c].thread_elements()[i] -= excess * mean_key[rounded ? c : 0].thread_elements()[i];
    }
  }
}
if (row < length && matrix_column(lane) == 0) {
  delta[statistic] = row_delta;
}
#pragma unroll
for (int c = 0; c < K / 8; c++) {
  store_matrix(gradient[c], scale[0], query_gradient + query_start + 8 * c, query_step, present, lane);
}
