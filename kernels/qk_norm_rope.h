// Where a row lies: one simdgroup holds the K numbers of one head at one position, and lane l of it the rotary pairs
// (i, i + K/2) for i = l, l + 32, ...

struct HeadRow {
  bool is_query;
  bool is_key;      // neither: a value
  uint position;    // row of the tables
  size_t packed;    // its first element in the projection [B, T, H + 2G, K]
  size_t separate;  // its first element in the query [B, T, H, K], or the key or value [B, T, G, K]
};

template <uint H, uint G, uint K>
inline HeadRow head_row(uint row, uint positions) {
  uint token = row / (H + 2 * G);
  uint head = row % (H + 2 * G);
  HeadRow found;
  found.is_query = head < H;
  found.is_key = !found.is_query && head < H + G;
  found.position = token % positions;
  found.packed = size_t(row) * K;
  uint separate_row = token * H + head;
  if (!found.is_query) {
    separate_row = token * G + (found.is_key ? head - H : head - H - G);
  }
  found.separate = size_t(separate_row) * K;
  return found;
}

// One over the root mean square of a row, from the sum of the squares each lane holds; every lane gets it.
template <uint K>
inline float inverse_root_mean_square(float squares, float epsilon) {
  return rsqrt(simd_sum(squares) / float(K) + epsilon);
}
