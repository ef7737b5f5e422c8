// Runs the operations in C++ on shapes of all kinds, each array with guards around it, and compares them with plain
// loops in double. Compiled with sanitizers by test_native.py; prints what differs, and exits with 1 then.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "attention.h"
#include "rows.h"

using Numbers = std::vector<double>;
static int failures = 0;
static std::mt19937 generator(0);

// float32 in a block of its own, so that a sanitizer sees each read or write beyond it.
struct Block {
  float* data;
  long n;

  explicit Block(long n) : data(static_cast<float*>(std::malloc(n * sizeof(float)))), n(n) {
    std::normal_distribution<float> normal;
    for (long i = 0; i < n; ++i)
      data[i] = normal(generator);
  }
  ~Block() {
    std::free(data);
  }
};

static void compare(const std::string& what, const Block& got, const Numbers& expected, double allowed) {
  double largest = 0, difference = 0;
  for (long i = 0; i < got.n; ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    difference = std::max(difference, std::abs(got.data[i] - expected[i]));
  }
  if (!(difference <= allowed * (1 + largest))) {
    std::printf("%s is off by %g\n", what.c_str(), difference);
    ++failures;
  }
}

static void check_attention(long B, long T, long H, long G, long K) {
  const tiny::Shape s{B, T, H, G, K};
  const std::string name = "attention T" + std::to_string(T) + " H" + std::to_string(H) + " K" + std::to_string(K);
  const double scale = 0.3;
  Block q(B * T * H * K), k(B * T * G * K), v(B * T * G * K), c(B * T * H * K), o(B * T * H * K), softmax(2 * B * H * T),
      dq(q.n), dk(k.n), dv(v.n);
  const auto heads = [&](const Block& b, long count) { return tiny::Heads{b.data, T * count * K, count * K, K, 1}; };
  tiny::attend(s, scale, heads(q, H), heads(k, G), heads(v, G), o.data, softmax.data);
  tiny::attention_gradient(
      s, scale, heads(q, H), heads(k, G), heads(v, G), o.data, softmax.data, heads(c, H), dq.data, dk.data, dv.data);
  Numbers eo(o.n), edq(q.n), edk(k.n), edv(v.n);
  for (long b = 0; b < B; ++b)
    for (long h = 0; h < H; ++h)
      for (long t = 0; t < T; ++t) {
        const auto at = [&](long time, long head, long heads) { return ((b * T + time) * heads + head) * K; };
        const long g = h / (H / G), row = at(t, h, H);
        Numbers p(t + 1), dp(t + 1);
        double top = -1e300, total = 0, mean = 0;
        for (long j = 0; j <= t; ++j) {
          for (long i = 0; i < K; ++i)
            p[j] += scale * q.data[row + i] * k.data[at(j, g, G) + i];
          top = std::max(top, p[j]);
        }
        for (double& score : p)
          total += score = std::exp(score - top);
        for (long j = 0; j <= t; ++j) {
          p[j] /= total;
          for (long i = 0; i < K; ++i) {
            eo[row + i] += p[j] * v.data[at(j, g, G) + i];
            edv[at(j, g, G) + i] += p[j] * c.data[row + i];
            dp[j] += double(c.data[row + i]) * v.data[at(j, g, G) + i];
          }
          mean += p[j] * dp[j];
        }
        for (long j = 0; j <= t; ++j)
          for (long i = 0; i < K; ++i) {
            const double ds = scale * p[j] * (dp[j] - mean);
            edq[row + i] += ds * k.data[at(j, g, G) + i];
            edk[at(j, g, G) + i] += ds * q.data[row + i];
          }
      }
  compare(name, o, eo, 2e-6);
  compare(name + " gradient of query", dq, edq, 5e-6);
  compare(name + " gradient of key", dk, edk, 5e-6);
  compare(name + " gradient of value", dv, edv, 5e-6);
}

static void check_rows(long rows, long n) {
  const std::string name = "rows of " + std::to_string(n);
  Block x(rows * n), y(rows * n), factors(rows), c(rows * n), dx(rows * n), wide(2 * rows * n), dwide(2 * rows * n);
  tiny::normalize(rows, n, 1e-6f, x.data, y.data, factors.data);
  tiny::norm_gradient(rows, n, y.data, factors.data, c.data, dx.data);
  Numbers ey(y.n), edx(y.n), ez(y.n), edwide(dwide.n);
  for (long r = 0; r < rows; ++r) {
    double square = 0, product = 0;
    for (long i = 0; i < n; ++i)
      square += double(x.data[r * n + i]) * x.data[r * n + i] / n;
    const double factor = 1 / std::sqrt(square + 1e-6);
    for (long i = 0; i < n; ++i) {
      ey[r * n + i] = factor * x.data[r * n + i];
      product += ey[r * n + i] * c.data[r * n + i] / n;
    }
    for (long i = 0; i < n; ++i)
      edx[r * n + i] = factor * (c.data[r * n + i] - ey[r * n + i] * product);
  }
  compare("norm of " + name, y, ey, 2e-6);
  compare("gradient of the norm of " + name, dx, edx, 1e-5);
  tiny::squared_relu(rows * n, x.data, y.data);
  tiny::squared_relu_gradient(rows * n, x.data, c.data, dx.data);
  for (long i = 0; i < rows * n; ++i) {
    const double positive = std::max(0.0, double(x.data[i]));
    ez[i] = positive * positive;
    edx[i] = 2 * positive * c.data[i];
  }
  compare("squared ReLU of " + name, y, ez, 1e-6);
  compare("gradient of squared ReLU of " + name, dx, edx, 1e-6);
  tiny::swiglu(rows, n, wide.data, y.data);
  tiny::swiglu_gradient(rows, n, wide.data, c.data, dwide.data);
  for (long r = 0; r < rows; ++r)
    for (long i = 0; i < n; ++i) {
      const double gate = wide.data[2 * r * n + i], up = wide.data[2 * r * n + n + i], share = 1 / (1 + std::exp(-gate));
      ez[r * n + i] = gate * share * up;
      edwide[2 * r * n + i] = c.data[r * n + i] * up * (share + gate * share * (1 - share));
      edwide[2 * r * n + n + i] = c.data[r * n + i] * gate * share;
    }
  compare("SwiGLU of " + name, y, ez, 2e-6);
  compare("gradient of SwiGLU of " + name, dwide, edwide, 2e-6);
  Numbers exponentials(n);
  float top;
  double exact = 0;
  const double largest = *std::max_element(x.data, x.data + n);
  for (long i = 0; i < n; ++i)
    exact += exponentials[i] = std::exp(x.data[i] - largest);
  const double total = tiny::exponentials(n, x.data, &top);
  if (top != float(largest) || !(std::abs(total / exact - 1) < 1e-6)) {
    std::printf("exponentials of %s are off\n", name.c_str());
    ++failures;
  }
}

static void check_turn(long T, long H, long K) {
  const long half = K / 2, n = T * H * K;
  const std::string name = "turned rows of " + std::to_string(K);
  // As in the projection of queries, keys and values, a row of another head follows; backward the heads come first.
  Block x(2 * n), weight(K), cosine(T * half), sine(T * half), y(n), dy(n), dx(n), dweight(K);
  for (long i = 0; i < cosine.n; ++i) {
    cosine.data[i] = std::cos(i);
    sine.data[i] = std::sin(i);
  }
  tiny::turn({x.data, 1, T, H, K, 0, 2 * H * K, K, 1}, 1e-6f, weight.data, cosine.data, sine.data, y.data);
  tiny::turn_gradient(
      {x.data, 1, T, H, K, 0, 2 * H * K, K, 1}, 1e-6f, weight.data, cosine.data, sine.data,
      {dy.data, 1, T, H, K, 0, K, T * K, 1}, dx.data, dweight.data);
  Numbers ey(n), edx(n), edweight(K);
  for (long t = 0; t < T; ++t)
    for (long h = 0; h < H; ++h) {
      const float *row = x.data + (2 * t * H + h) * K, *d = dy.data + (h * T + t) * K;
      const float *c = cosine.data + t * half, *s = sine.data + t * half;
      double square = 0, product = 0;
      for (long i = 0; i < K; ++i)
        square += double(row[i]) * row[i] / K;
      const double factor = 1 / std::sqrt(square + 1e-6);
      Numbers back(K);
      for (long i = 0; i < half; ++i) {
        const double first = factor * row[i] * weight.data[i], second = factor * row[half + i] * weight.data[half + i];
        ey[(t * H + h) * K + i] = first * c[i] - second * s[i];
        ey[(t * H + h) * K + half + i] = second * c[i] + first * s[i];
        back[i] = double(d[i]) * c[i] + double(d[half + i]) * s[i];
        back[half + i] = double(d[half + i]) * c[i] - double(d[i]) * s[i];
      }
      for (long i = 0; i < K; ++i) {
        edweight[i] += back[i] * factor * row[i];
        product += back[i] * weight.data[i] * factor * row[i] / K;
      }
      for (long i = 0; i < K; ++i)
        edx[(t * H + h) * K + i] = factor * (back[i] * weight.data[i] - factor * row[i] * product);
    }
  compare(name, y, ey, 2e-6);
  compare("gradient of " + name, dx, edx, 1e-5);
  compare("gradient of the weight of " + name, dweight, edweight, 1e-5);
}

int main() {
  for (const long T : {1, 2, 7, 8, 9, 31, 32, 33, 65})
    for (const auto& [H, G] : {std::pair<long, long>{1, 1}, {2, 2}, {4, 2}})
      for (const long K : {2, 4, 6, 16, 20, 48, 66})
        check_attention(2, T, H, G, K);
  for (const long n : {1, 3, 15, 16, 17, 31, 64, 100, 2049})
    check_rows(3, n);
  for (const long K : {2, 6, 16, 20, 48, 66})
    check_turn(5, 3, K);
  return failures != 0;
}
