#include "qk_norm_rope.h"

// From the packed projection to attention's inputs: query and key are normalised, scaled by their weight and turned by
// the tables, values are copied. One simdgroup a row; the arithmetic is float32, and rounded once, at the store.
constexpr uint half_width = uint(K) / 2;
constexpr uint pairs = (half_width + 31) / 32;
uint lane = thread_index_in_simdgroup;
uint row = thread_position_in_grid.x / 32;
uint rows = uint(projected_shape[0]) * uint(projected_shape[1]) * uint(H + 2 * G);
HeadRow place = head_row<uint(H), uint(G), uint(K)>(row, uint(projected_shape[1]));

float first[pairs];
float second[pairs];
float squares = 0.0f;
#pragma unroll
for (uint pair = 0; pair < pairs; ++pair) {
  uint i = lane + 32 * pair;
  bool mine = row < rows && i < half_width;
  first[pair] = mine ? float(projected[place.packed + i]) : 0.0f;
  second[pair] = mine ? float(projected[place.packed + half_width + i]) : 0.0f;
  squares += first[pair] * first[pair] + second[pair] * second[pair];
}
float inverse = inverse_root_mean_square<uint(K)>(squares, epsilon[0]);

#pragma unroll
for (uint pair = 0; pair < pairs; ++pair) {
  uint i = lane + 32 * pair;
  if (row < rows && i < half_width) {
    size_t here = place.separate + i;
    if (place.is_query || place.is_key) {
      float first_weight = place.is_query ? float(query_norm_weight[i]) : float(key_norm_weight[i]);
      float second_weight = place.is_query ? float(query_norm_weight[half_width + i]) : float(key_norm_weight[half_width + i]);
      float first_normal = first[pair] * inverse * first_weight;
      float second_normal = second[pair] * inverse * second_weight;
      float c = cosine[place.position * half_width + i];
      float s = sine[place.position * half_width + i];
      Element first_turned = Element(first_normal * c - second_normal * s);
      Element second_turned = Element(second_normal * c + first_normal * s);
      if (place.is_query) {
        query[here] = first_turned;
        query[here + half_width] = second_turned;
      } else {
        key[here] = first_turned;
        key[here + half_width] = second_turned;
      }
    } else {
      value[here] = Element(first[pair]);
      value[here + half_width] = Element(second[pair]);
    }
  }
}
