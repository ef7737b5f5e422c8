// Operations on rows: norms, QK-norm with rotary positions, SwiGLU and squared ReLU, and the loss of a row of logits.
#pragma once

#include <cmath>
#include <vector>

#include "vectors.h"

namespace tiny {

inline float dot(const float* a, const float* b, long n) {
  Vector total = {};
  long i = 0;
  for (; i + WIDTH <= n; i += WIDTH)
    total += load(a + i) * load(b + i);
  float rest = sum(total);
  for (; i < n; ++i)
    rest += a[i] * b[i];
  return rest;
}

// y = x / sqrt(mean(x^2) + epsilon), and the factor of each row.
inline void normalize(long rows, long n, float epsilon, const float* x, float* y, float* factors) {
  for (long r = 0; r < rows; ++r, x += n, y += n) {
    const float factor = 1 / std::sqrt(dot(x, x, n) / n + epsilon);
    for (long i = 0; i < n; ++i)
      y[i] = x[i] * factor;
    factors[r] = factor;
  }
}

inline void norm_gradient(long rows, long n, const float* y, const float* factors, const float* dy, float* dx) {
  for (long r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    const float mean = dot(y, dy, n) / n, factor = factors[r];
    for (long i = 0; i < n; ++i)
      dx[i] = (dy[i] - y[i] * mean) * factor;
  }
}

// Rows [B, T, H, K] with any strides.
struct Rows {
  const float* start;
  long B, T, H, K, b, t, h, k;

  // The row itself, or a copy in `space` where its numbers are not neighbours.
  const float* at(long i, long j, long which, std::vector<float>& space) const {
    const float* row = start + i * b + j * t + which * h;
    if (k == 1)
      return row;
    for (long n = 0; n < K; ++n)
      space[n] = row[n * k];
    return space.data();
  }
};

// y = turned(x / sqrt(mean(x^2) + epsilon) * weight), by the angles whose cosine and sine are [T, K/2].
inline void turn(Rows x, float epsilon, const float* weight, const float* cosine, const float* sine, float* y) {
  const long K = x.K, half = K / 2;
  std::vector<float> space(K);
  for (long b = 0; b < x.B; ++b)
    for (long t = 0; t < x.T; ++t)
      for (long h = 0; h < x.H; ++h, y += K) {
        const float *row = x.at(b, t, h, space), *c = cosine + t * half, *s = sine + t * half;
        const float factor = 1 / std::sqrt(dot(row, row, K) / K + epsilon);
        for (long i = 0; i < half; ++i) {
          const float first = factor * row[i] * weight[i], second = factor * row[half + i] * weight[half + i];
          y[i] = first * c[i] - second * s[i];
          y[half + i] = second * c[i] + first * s[i];
        }
      }
}

inline void turn_gradient(
    Rows x, float epsilon, const float* weight, const float* cosine, const float* sine, Rows dy, float* dx,
    float* weight_gradient) {
  const long K = x.K, half = K / 2;
  std::vector<float> back(K), space(K), more(K);
  std::fill(weight_gradient, weight_gradient + K, 0.0f);
  for (long b = 0; b < x.B; ++b)
    for (long t = 0; t < x.T; ++t)
      for (long h = 0; h < x.H; ++h, dx += K) {
        const float *row = x.at(b, t, h, space), *d = dy.at(b, t, h, more), *c = cosine + t * half, *s = sine + t * half;
        const float factor = 1 / std::sqrt(dot(row, row, K) / K + epsilon);
        for (long i = 0; i < half; ++i) {
          back[i] = d[i] * c[i] + d[half + i] * s[i];
          back[half + i] = d[half + i] * c[i] - d[i] * s[i];
        }
        for (long i = 0; i < K; ++i) {
          weight_gradient[i] += back[i] * row[i] * factor;
          back[i] *= weight[i];
        }
        const float share = dot(back.data(), row, K) * factor * factor / K;
        for (long i = 0; i < K; ++i)
          dx[i] = factor * (back[i] - row[i] * share);
      }
}

inline Vector sigmoid(Vector x) {
  // Of the negative absolute value, so that nothing overflows.
  const Vector e = exponential(x < 0.0f ? x : -x), part = 1.0f / (1.0f + e);
  return x < 0.0f ? e * part : part;
}

// Calls f(position, count) for whole vectors, and for what is left of n numbers.
template <class F>
inline void by_vectors(long n, F f) {
  long i = 0;
  for (; i + WIDTH <= n; i += WIDTH)
    f(i, WIDTH);
  if (i < n)
    f(i, n - i);
}

inline Vector load_some(const float* from, long count) {
  if (count == WIDTH)
    return load(from);
  Vector v = {};
  std::memcpy(&v, from, count * sizeof(float));
  return v;
}

inline void store_some(float* to, Vector v, long count) {
  if (count == WIDTH)
    store(to, v);
  else
    std::memcpy(to, &v, count * sizeof(float));
}

// y = x max(x, 0)
inline void squared_relu(long n, const float* x, float* y) {
  for (long i = 0; i < n; ++i)
    y[i] = x[i] < 0 ? 0 : x[i] * x[i];  // NaN stays NaN
}

inline void squared_relu_gradient(long n, const float* x, const float* dy, float* dx) {
  for (long i = 0; i < n; ++i)
    dx[i] = x[i] < 0 ? 0 : 2 * x[i] * dy[i];
}

// y [rows, n] = gate sigmoid(gate) up, of x [rows, 2 n] with the gate first.
inline void swiglu(long rows, long n, const float* x, float* y) {
  for (long r = 0; r < rows; ++r, x += 2 * n, y += n)
    by_vectors(n, [&](long i, long count) {
      const Vector gate = load_some(x + i, count);
      store_some(y + i, gate * sigmoid(gate) * load_some(x + n + i, count), count);
    });
}

inline void swiglu_gradient(long rows, long n, const float* x, const float* dy, float* dx) {
  for (long r = 0; r < rows; ++r, x += 2 * n, dx += 2 * n, dy += n)
    by_vectors(n, [&](long i, long count) {
      const Vector gate = load_some(x + i, count), up = load_some(x + n + i, count), d = load_some(dy + i, count);
      const Vector share = sigmoid(gate), gated = gate * share;
      store_some(dx + i, d * up * (share + gated * (1.0f - share)), count);
      store_some(dx + n + i, d * gated, count);
    });
}

// Turns logits [V] into exp(z - max), and returns the sum of these; `top` becomes the largest.
inline float exponentials(long V, float* z, float* top) {
  Vector largest_of = all(z[0]);
  by_vectors(V, [&](long i, long count) {
    const Vector v = load_some(z + i, count);
    if (count == WIDTH)
      largest_of = larger(largest_of, v);
    else
      for (long j = 0; j < count; ++j)
        largest_of[j] = v[j] > largest_of[j] ? v[j] : largest_of[j];
  });
  *top = largest(largest_of);
  Vector total = {};
  by_vectors(V, [&](long i, long count) {
    const Vector e = exponential(load_some(z + i, count) - *top);
    store_some(z + i, e, count);
    if (count == WIDTH)
      total += e;
    else
      for (long j = 0; j < count; ++j)
        total[j] += e[j];
  });
  return sum(total);
}

}  // namespace tiny
