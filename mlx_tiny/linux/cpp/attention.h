// Causal attention, forward and backward, a head after the other. Only the masked half of a tile is computed in vain.
//
// With scores S = scale Q K^T, m their row maxima, l the row sums of exp(S - m), P = exp(S - m) / l, and
// delta = rowsum(dO O), the gradient of the scores is P (dO V^T - delta). P is computed again backward from m and 1 / l,
// so that no square of T x T numbers is kept; from m + log(l) alone, large scores would lose digits.
#pragma once

#include <vector>

#include "products.h"

namespace tiny {

// An array [B, T, heads, K] with any strides.
struct Heads {
  const float* start;
  long b, t, head, k;

  const float* of(long sequence, long which) const {
    return start + sequence * b + which * head;
  }
};

struct Shape {
  long B, T, H, G, K;

  long keys() const {
    return rounded_up(T);
  }
  long width() const {
    return rounded_up(K);
  }
};

// Queries that are taken together where their gradient is added to that of the keys.
constexpr long BLOCK = 4 * TILE_ROWS;
// Below all scores, and its exponential is 0.
constexpr float NOTHING = -1e30f;

// Copies a head as rows [T, K], each followed by zeros up to `row`.
inline void rows_of(const Heads& from, const float* start, const Shape& s, long row, float factor, float* to) {
  for (long t = 0; t < s.T; ++t) {
    for (long k = 0; k < s.K; ++k)
      to[t * row + k] = factor * start[t * from.t + k * from.k];
    std::fill(to + t * row + s.K, to + (t + 1) * row, 0.0f);
  }
}

// Copies a head as columns [K, T], each row followed by zeros up to a multiple of WIDTH.
inline void columns_of(const Heads& from, const float* start, const Shape& s, float* to) {
  const long row = s.keys();
  for (long k = 0; k < s.K; ++k)
    std::fill(to + k * row + s.T, to + (k + 1) * row, 0.0f);
  for (long t = 0; t < s.T; ++t)
    for (long k = 0; k < s.K; ++k)
      to[k * row + t] = start[t * from.t + k * from.k];
}

// The number of keys that the queries up to `end` need, rounded up.
inline long seen(const Shape& s, long end) {
  return rounded_up(std::min(end, s.T));
}

// `softmax` [B, H, T, 2] becomes m and 1 / l of each row.
inline void attend(const Shape& s, float scale, Heads query, Heads key, Heads value, float* output, float* softmax) {
  const long T = s.T, K = s.K, keys = s.keys(), width = s.width();
  std::vector<float> q(T * K), kt(K * keys), v(T * width), e(TILE_ROWS * keys), o(TILE_ROWS * width);
  for (long b = 0; b < s.B; ++b)
    for (long h = 0; h < s.H; ++h) {
      const long g = h / (s.H / s.G);
      rows_of(query, query.of(b, h), s, K, scale, q.data());
      if (h % (s.H / s.G) == 0) {
        columns_of(key, key.of(b, g), s, kt.data());
        rows_of(value, value.of(b, g), s, width, 1.0f, v.data());
      }
      for (long first = 0; first < T; first += TILE_ROWS) {
        const long rows = std::min<long>(TILE_ROWS, T - first), n = seen(s, first + rows);
        multiply(rows, n, K, {q.data() + first * K, K, 1}, kt.data(), keys, e.data(), n, false);
        float inverse[TILE_ROWS];
        for (long i = 0; i < rows; ++i) {
          float* scores = e.data() + i * n;
          std::fill(scores + first + i + 1, scores + n, NOTHING);
          Vector top = all(NOTHING);
          for (long j = 0; j < n; j += WIDTH)
            top = larger(top, load(scores + j));
          const float shift = largest(top);
          Vector total = {};
          for (long j = 0; j < n; j += WIDTH) {
            const Vector share = exponential(load(scores + j) - shift);
            store(scores + j, share);
            total += share;
          }
          inverse[i] = 1 / sum(total);
          float* kept = softmax + 2 * ((b * s.H + h) * T + first + i);
          kept[0] = shift;
          kept[1] = inverse[i];
        }
        multiply(rows, width, std::min(n, T), {e.data(), n, 1}, v.data(), width, o.data(), width, false);
        for (long i = 0; i < rows; ++i)
          for (long k = 0; k < K; ++k)
            output[((b * T + first + i) * s.H + h) * K + k] = inverse[i] * o[i * width + k];
      }
    }
}

inline void attention_gradient(
    const Shape& s, float scale, Heads query, Heads key, Heads value, const float* output, const float* softmax,
    Heads cotangent, float* query_gradient, float* key_gradient, float* value_gradient) {
  const long T = s.T, K = s.K, keys = s.keys(), width = s.width(), shared = s.H / s.G;
  std::vector<float> q(T * width), kt(K * keys), k(T * width), vt(K * keys), c(T * width), dq(BLOCK * width),
      dk(keys * width), dv(keys * width), p(BLOCK * keys), ds(BLOCK * keys), delta(T);
  for (long b = 0; b < s.B; ++b)
    for (long h = 0; h < s.H; ++h) {
      const long g = h / shared;
      if (h % shared == 0) {
        columns_of(key, key.of(b, g), s, kt.data());
        rows_of(key, key.of(b, g), s, width, 1.0f, k.data());
        columns_of(value, value.of(b, g), s, vt.data());
        std::fill(dk.begin(), dk.end(), 0.0f);
        std::fill(dv.begin(), dv.end(), 0.0f);
      }
      rows_of(query, query.of(b, h), s, width, scale, q.data());
      rows_of(cotangent, cotangent.of(b, h), s, width, 1.0f, c.data());
      for (long t = 0; t < T; ++t) {
        float total = 0;
        for (long i = 0; i < K; ++i)
          total += c[t * width + i] * output[((b * T + t) * s.H + h) * K + i];
        delta[t] = total;
      }
      for (long block = 0; block < T; block += BLOCK) {
        const long end = std::min(block + BLOCK, T), n = seen(s, end);
        for (long first = block; first < end; first += TILE_ROWS) {
          const long rows = std::min<long>(TILE_ROWS, end - first), near = seen(s, first + rows);
          float *shares = p.data() + (first - block) * n, *gradients = ds.data() + (first - block) * n;
          multiply(rows, near, K, {q.data() + first * width, width, 1}, kt.data(), keys, shares, n, false);
          multiply(rows, near, K, {c.data() + first * width, width, 1}, vt.data(), keys, gradients, n, false);
          for (long i = 0; i < rows; ++i) {
            float *share = shares + i * n, *gradient = gradients + i * n;
            std::fill(share + first + i + 1, share + near, NOTHING);
            const float* kept = softmax + 2 * ((b * s.H + h) * T + first + i);
            const float shift = kept[0], inverse = kept[1], mean = delta[first + i];
            for (long j = 0; j < near; j += WIDTH) {
              const Vector weight = exponential(load(share + j) - shift) * inverse;
              store(share + j, weight);
              store(gradient + j, weight * (load(gradient + j) - mean));
            }
            std::fill(share + near, share + n, 0.0f);
            std::fill(gradient + near, gradient + n, 0.0f);
          }
        }
        const long rows = end - block, known = std::min(n, T);
        multiply(rows, width, known, {ds.data(), n, 1}, k.data(), width, dq.data(), width, false);
        for (long i = 0; i < rows; ++i)
          for (long j = 0; j < K; ++j)
            query_gradient[((b * T + block + i) * s.H + h) * K + j] = scale * dq[i * width + j];
        multiply(known, width, rows, {p.data(), 1, n}, c.data() + block * width, width, dv.data(), width, true);
        multiply(known, width, rows, {ds.data(), 1, n}, q.data() + block * width, width, dk.data(), width, true);
      }
      if (h % shared == shared - 1)
        for (long t = 0; t < T; ++t)
          for (long i = 0; i < K; ++i) {
            const long place = ((b * T + t) * s.G + g) * K + i;
            key_gradient[place] = dk[t * width + i];
            value_gradient[place] = dv[t * width + i];
          }
    }
}

}  // namespace tiny
