// Vectors of float32 as wide as this machine's registers, written as GCC and Clang understand them on every CPU.
#pragma once

#include <cstdint>
#include <cstring>

namespace tiny {

#if defined(__AVX512F__)
constexpr long WIDTH = 16;
#elif defined(__AVX__)
constexpr long WIDTH = 8;
#else
constexpr long WIDTH = 4;
#endif

typedef float Vector __attribute__((vector_size(WIDTH * sizeof(float))));
typedef uint32_t Bits __attribute__((vector_size(WIDTH * sizeof(uint32_t))));

inline Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vector v) {
  std::memcpy(to, &v, sizeof v);
}

inline Vector all(float x) {
  return Vector{} + x;
}

inline Vector larger(Vector a, Vector b) {
  return a > b ? a : b;
}

inline float sum(Vector v) {
  float total = 0;
  for (long i = 0; i < WIDTH; ++i)
    total += v[i];
  return total;
}

inline float largest(Vector v) {
  float found = v[0];
  for (long i = 1; i < WIDTH; ++i)
    found = v[i] > found ? v[i] : found;
  return found;
}

// exp(x) for x <= 88 with a relative error below 2e-7; 0 below -87. With n = round(x / ln 2) and r = x - n ln 2, it is
// 2^n e^r; the polynomial of e^r is that of Cephes' expf, and 2^n is added to the exponent's bits.
inline Vector exponential(Vector argument) {
  const Vector x = larger(argument, all(-87.0f));
  const float ROUNDER = 12582912.0f;  // 1.5 * 2^23: the sum with it is a whole number, kept in its lowest bits
  const Vector shifted = x * 1.44269504f + ROUNDER;
  const Vector n = shifted - ROUNDER;
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + r + 1.0f;
  Bits bits, power;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&power, &shifted, sizeof power);
  bits += power << 23;
  std::memcpy(&p, &bits, sizeof p);
  // The product is 0, or NaN where the argument is, which the comparisons above have lost.
  return (argument <= -87.0f ? Vector{} : p) + 0.0f * argument;
}

inline long rounded_up(long n) {
  return (n + WIDTH - 1) / WIDTH * WIDTH;
}

}  // namespace tiny
