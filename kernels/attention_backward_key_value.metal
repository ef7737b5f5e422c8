#include "simdgroup.h"
#include "attention.h"
// Gradients of 32 keys and values of one key head, from all queries that see them, in every head that shares them.
// Scores are transposed, keys by queries, so that each simdgroup owns 8 keys and none adds to another's sums:
// dV = P^T dO, dS^T = P^T (V dO^T - delta), dK = scale dS^T Q.
constexpr int rows = tile_rows<T, K>();
constexpr int stride = tile_stride<T, K>();
// Wider rows would crowd the registers: they are read again for every tile.
constexpr bool kept = K <= 64;
threadgroup T query_tile[rows * stride];
threadgroup T cotangent_tile[rows * stride];
threadgroup float log_sums[2 * rows];
threadgroup float deltas[rows];

const int length = query_shape[1];
const int heads = query_shape[2];
const int groups = key_shape[2];
const int group = int(threadgroup_position_in_grid.x);
// The first keys are seen by most queries: the longest blocks come first.
const int block = int(threadgroup_position_in_grid.y);
const int batch = int(threadgroup_position_in_grid.z);
const int index = int(thread_position_in_threadgroup.x);
const uint lane = thread_index_in_simdgroup;

const int first_row = 32 * block + 8 * int(simdgroup_index_in_threadgroup);
const int row = first_row + int(matrix_row(lane));
const int present = length - first_row;
const int query_step = heads * K;
const int key_step = groups * K;
const ulong key_start = ((ulong(batch) * ulong(length) + ulong(first_row)) * ulong(groups) + ulong(group)) * K;
const float factor = scale[0] * M_LOG2E_F;

simdgroup_float8x8 key_rows[kept ? K / 8 : 1];
simdgroup_float8x8 value_rows[kept ? K / 8 : 1];
simdgroup_float8x8 key_gradients[K / 8];
simdgroup_float8x8 value_gradients[K / 8];
#pragma unroll
for (int c = 0; c < K / 8; c++) {
  const int at = kept ? c : 0;
  key_rows[at] = device_matrix(key + key_start + 8 * c, key_step, present, lane);
  value_rows[at] = device_matrix(value + key_start + 8 * c, key_step, present, lane);
  key_gradients[c] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  value_gradients[c] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
}

const int sharing = heads / groups;
for (int head = group * sharing; head < (group + 1) * sharing; head++) {
  const ulong query_start = (ulong(batch) * ulong(length) * ulong(heads) + ulong(head)) * K;
  const ulong statistics = (ulong(batch) * ulong(heads) + ulong(head)) * ulong(length);
  for (int first_query = 32 * block; first_query < length; first_query += rows) {
    const ulong tile_start = query_start + ulong(first_query) * ulong(query_step);
    fill_tile<T, K>(query_tile, query + tile_start, query_step, length - first_query, index);
    fill_tile<T, K>(cotangent_tile, cotangent + tile_start, query_step, length - first_query, index);
    if (index < 2 * rows) {
      // Queries beyond the end have neither cotangent nor delta; an infinite sum takes their weight as well.
      const bool inside = first_query + index / 2 < length;
      log_sums[index] = inside ? log_sum_exp[2 * (statistics + ulong(first_query)) + ulong(index)] : INFINITY;
    }
    if (index < rows) {
      deltas[index] = first_query + index < length ? delta[statistics + ulong(first_query + index)] : 0.0f;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    simdgroup_float8x8 weights[rows / 8];
    simdgroup_float8x8 score_gradients[rows / 8];
#pragma unroll
    for (int j = 0; j < rows / 8; j++) {
      weights[j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
      score_gradients[j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    }
#pragma unroll
    for (int c = 0; c < K / 8; c++) {
      const int at = kept ? c : 0;
      if (!kept) {
        key_rows[at] = device_matrix(key + key_start + 8 * c, key_step, present, lane);
        value_rows[at] = device_matrix(value + key_start + 8 * c, key_step, present, lane);
      }
#pragma unroll
      for (int j = 0; j < rows / 8; j++) {
        simdgroup_float8x8 queries = tile_matrix_transposed<T, K>(query_tile + 8 * j * stride + 8 * c, lane);
        simdgroup_multiply_accumulate(weights[j], key_rows[at], queries, weights[j]);
        simdgroup_float8x8 cotangents = tile_matrix_transposed<T, K>(cotangent_tile + 8 * j * stride + 8 * c, lane);
        simdgroup_multiply_accumulate(score_gradients[j], value_rows[at], cotangents, score_gradients[j]);
      }
    }

    // An explicit 0 where masked, whatever the products are there.
    const bool masked = first_query < first_row + 7;
    const int first = masked ? row - first_query - int(matrix_column(lane)) : 0;
#pragma unroll
    for (int j = 0; j < rows / 8; j++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int column = 8 * j + i;
        const int query_index = column + int(matrix_column(lane));
        const bool seen = column >= first;
        const float score = fma(factor, weights[j].thread_elements()[i], -log_sums[2 * query_index]);
        const float weight = seen ? exp2(score - log_sums[2 * query_index + 1]) : 0.0f;
        const float difference = score_gradients[j].thread_elements()[i] - deltas[query_index];
        weights[j].thread_elements()[i] = weight;
        score_gradients[j].thread_elements()[i] = seen ? weight * difference : 0.0f;
      }
    }
#pragma unroll
    for (int c = 0; c < K / 8; c++) {
#pragma unroll
      for (int j = 0; j < rows / 8; j++) {
        simdgroup_float8x8 cotangents = tile_matrix<T, K>(cotangent_tile + 8 * j * stride + 8 * c, lane);
        simdgroup_multiply_accumulate(value_gradients[c], weights[j], cotangents, value_gradients[c]);
        simdgroup_float8x8 queries = tile_matrix<T, K>(query_tile + 8 * j * stride + 8 * c, lane);
        simdgroup_multiply_accumulate(key_gradients[c], score_gradients[j], queries, key_gradients[c]);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

#pragma unroll
for (int c = 0; c < K / 8; c++) {
  store_matrix(key_gradients[c], scale[0], key_gradient + key_start + 8 * c, key_step, present, lane);
  store_matrix(value_gradients[c], 1.0f, value_gradient + key_start + 8 * c, key_step, present, lane);
}
