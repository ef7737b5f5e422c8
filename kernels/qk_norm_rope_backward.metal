#include "qk_norm_rope.h"

// The gradient of the packed projection, and a threadgroup's share of the gradients of the two norm weights. A threadgroup
// owns TOKENS neighbouring tokens; its simdgroups take their rows in turn and keep the norm weights' terms in registers.
threadgroup float terms[SIMDGROUPS * 2 * K];

constexpr uint half_width = uint(K) / 2;
constexpr uint pairs = (half_width + 31) / 32;
constexpr uint group_rows = uint(TOKENS) * uint(H + 2 * G);
uint lane = thread_index_in_simdgroup;
uint simdgroup = simdgroup_index_in_threadgroup;
uint group = threadgroup_position_in_grid.x;
uint rows = uint(projected_shape[0]) * uint(projected_shape[1]) * uint(H + 2 * G);
uint end = min((group + 1) * group_rows, rows);

float query_first[pairs];
float query_second[pairs];
float key_first[pairs];
float key_second[pairs];
#pragma unroll
for (uint pair = 0; pair < pairs; ++pair) {
  query_first[pair] = 0.0f;
  query_second[pair] = 0.0f;
  key_first[pair] = 0.0f;
  key_second[pair] = 0.0f;
}

for (uint row = group * group_rows + simdgroup; row < end; row += uint(SIMDGROUPS)) {
  HeadRow place = head_row<uint(H), uint(G), uint(K)>(row, uint(projected_shape[1]));
  if (place.is_query || place.is_key) {
    float first[pairs];
    float second[pairs];
    float squares = 0.0f;
#pragma unroll
    for (uint pair = 0; pair < pairs; ++pair) {
      uint i = lane + 32 * pair;
      bool mine = i < half_width;
      first[pair] = mine ? float(projected[place.packed + i]) : 0.0f;
      second[pair] = mine ? float(projected[place.packed + half_width + i]) : 0.0f;
      squares += first[pair] * first[pair] + second[pair] * second[pair];
    }
    float inverse = inverse_root_mean_square<uint(K)>(squares, epsilon[0]);

    // From here on first and second are the normalised row n, and the others the gradient of n.
    float first_gradient[pairs];
    float second_gradient[pairs];
    float along = 0.0f;
#pragma unroll
    for (uint pair = 0; pair < pairs; ++pair) {
      uint i = lane + 32 * pair;
      first_gradient[pair] = 0.0f;
      second_gradient[pair] = 0.0f;
      if (i < half_width) {
        size_t here = place.separate + i;
        float a = place.is_query ? float(query_gradient[here]) : float(key_gradient[here]);
        float b = place.is_query ? float(query_gradient[here + half_width]) : float(key_gradient[here + half_width]);
        float c = cosine[place.position * half_width + i];
        float s = sine[place.position * half_width + i];
        float first_back = a * c + b * s;
        float second_back = b * c - a * s;
        first[pair] *= inverse;
        second[pair] *= inverse;
        if (place.is_query) {
          query_first[pair] += first_back * first[pair];
          query_second[pair] += second_back * second[pair];
          first_gradient[pair] = first_back * float(query_norm_weight[i]);
          second_gradient[pair] = second_back * float(query_norm_weight[half_width + i]);
        } else {
          key_first[pair] += first_back * first[pair];
          key_second[pair] += second_back * second[pair];
          first_gradient[pair] = first_back * float(key_norm_weight[i]);
          second_gradient[pair] = second_back * float(key_norm_weight[half_width + i]);
        }
        along += first_gradient[pair] * first[pair] + second_gradient[pair] * second[pair];
      }
    }
    along = simd_sum(along) / float(K);
#pragma unroll
    for (uint pair = 0; pair < pairs; ++pair) {
      uint i = lane + 32 * pair;
      if (i < half_width) {
        size_t there = place.packed + i;
        projected_gradient[there] = Element(inverse * (first_gradient[pair] - first[pair] * along));
        projected_gradient[there + half_width] = Element(inverse * (second_gradient[pair] - second[pair] * along));
      }
    }
  } else {
    for (uint i = lane; i < uint(K); i += 32) {
      projected_gradient[place.packed + i] = Element(float(value_gradient[place.separate + i]));
    }
  }
}

#pragma unroll
for (uint pair = 0; pair < pairs; ++pair) {
  uint i = lane + 32 * pair;
  if (i < half_width) {
    uint query_row = 2 * simdgroup * uint(K);
    uint key_row = query_row + uint(K);
    terms[query_row + i] = query_first[pair];
    terms[query_row + half_width + i] = query_second[pair];
    terms[key_row + i] = key_first[pair];
    terms[key_row + half_width + i] = key_second[pair];
  }
}
threadgroup_barrier(mem_flags::mem_threadgroup);
for (uint i = thread_position_in_threadgroup.x; i < 2 * uint(K); i += 32 * uint(SIMDGROUPS)) {
  float sum = 0.0f;
  for (uint part = 0; part < uint(SIMDGROUPS); ++part) {
    sum += terms[part * 2 * uint(K) + i];
  }
  norm_weight_gradient[size_t(group) * 2 * uint(K) + i] = sum;
}
