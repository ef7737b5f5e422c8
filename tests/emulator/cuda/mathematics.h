// Metal's functions of numbers: of float by CUDA's, of half and bfloat in float and rounded once, of vectors one by one.

#pragma once

namespace metal {

#define WITNESS_FUNCTION(name, of_float)                                                        \
  inline float name(float x) { return of_float(x); }                                            \
  inline half name(half x) { return half(of_float(float(x))); }                                 \
  inline bfloat name(bfloat x) { return bfloat(of_float(float(x))); }                           \
  template <typename T, int N>                                                                  \
  inline vec<T, N> name(vec<T, N> x) {                                                          \
    for (int i = 0; i < N; i++) x[i] = name(x[i]);                                              \
    return x;                                                                                   \
  }

WITNESS_FUNCTION(exp, ::expf)
WITNESS_FUNCTION(exp2, ::exp2f)
WITNESS_FUNCTION(exp10, ::exp10f)
WITNESS_FUNCTION(log, ::logf)
WITNESS_FUNCTION(log2, ::log2f)
WITNESS_FUNCTION(log10, ::log10f)
WITNESS_FUNCTION(sqrt, ::sqrtf)
WITNESS_FUNCTION(rsqrt, ::rsqrtf)
WITNESS_FUNCTION(sin, ::sinf)
WITNESS_FUNCTION(cos, ::cosf)
WITNESS_FUNCTION(tan, ::tanf)
WITNESS_FUNCTION(tanh, ::tanhf)
WITNESS_FUNCTION(fabs, ::fabsf)
WITNESS_FUNCTION(floor, ::floorf)
WITNESS_FUNCTION(ceil, ::ceilf)
WITNESS_FUNCTION(rint, ::rintf)
WITNESS_FUNCTION(round, ::roundf)
WITNESS_FUNCTION(trunc, ::truncf)
#undef WITNESS_FUNCTION

inline float abs(float x) { return ::fabsf(x); }
inline half abs(half x) { return fabs(x); }
inline bfloat abs(bfloat x) { return fabs(x); }
inline int abs(int x) { return x < 0 ? -x : x; }
template <typename T, int N>
inline vec<T, N> abs(vec<T, N> x) {
  for (int i = 0; i < N; i++) x[i] = abs(x[i]);
  return x;
}

inline bool isnan(float x) { return x != x; }
inline bool isinf(float x) { return ::fabsf(x) == numeric_limits<float>::infinity(); }
inline bool isfinite(float x) { return ::fabsf(x) < numeric_limits<float>::infinity(); }
inline bool signbit(float x) { return as_type<uint>(x) >> 31; }
inline float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
inline float copysign(float x, float y) { return ::copysignf(x, y); }
inline float pow(float x, float y) { return ::powf(x, y); }
inline float powr(float x, float y) { return ::powf(x, y); }
inline float fmod(float x, float y) { return ::fmodf(x, y); }
inline float divide(float x, float y) { return x / y; }

inline float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
inline half fma(half a, half b, half c) { return half(float(a) * float(b) + float(c)); }
template <typename T, int N>
inline vec<T, N> fma(vec<T, N> a, vec<T, N> b, vec<T, N> c) {
  for (int i = 0; i < N; i++) a[i] = fma(a[i], b[i], c[i]);
  return a;
}

// One template each: two different types are as ambiguous here as they are in Metal.
template <typename T> inline T max(T a, T b) { return a < b ? b : a; }
template <typename T> inline T min(T a, T b) { return b < a ? b : a; }
// A NaN gives way to the number beside it.
template <> inline float max(float a, float b) { return ::fmaxf(a, b); }
template <> inline float min(float a, float b) { return ::fminf(a, b); }
template <> inline half max(half a, half b) { return half(::fmaxf(float(a), float(b))); }
template <> inline half min(half a, half b) { return half(::fminf(float(a), float(b))); }
template <> inline bfloat max(bfloat a, bfloat b) { return bfloat(::fmaxf(float(a), float(b))); }
template <> inline bfloat min(bfloat a, bfloat b) { return bfloat(::fminf(float(a), float(b))); }
template <typename T, int N>
inline vec<T, N> max(vec<T, N> a, vec<T, N> b) {
  for (int i = 0; i < N; i++) a[i] = max(a[i], b[i]);
  return a;
}
template <typename T, int N>
inline vec<T, N> min(vec<T, N> a, vec<T, N> b) {
  for (int i = 0; i < N; i++) a[i] = min(a[i], b[i]);
  return a;
}

inline float fmax(float a, float b) { return ::fmaxf(a, b); }
inline float fmin(float a, float b) { return ::fminf(a, b); }
inline float max3(float a, float b, float c) { return max(max(a, b), c); }
inline float min3(float a, float b, float c) { return min(min(a, b), c); }

template <typename T>
inline T clamp(T x, T low, T high) {
  return min(max(x, low), high);
}

template <typename T>
inline T select(T when_false, T when_true, bool condition) {
  return condition ? when_true : when_false;
}
template <typename T, int N>
inline vec<T, N> select(vec<T, N> when_false, vec<T, N> when_true, vec<bool, N> condition) {
  for (int i = 0; i < N; i++) when_false[i] = condition[i] ? when_true[i] : when_false[i];
  return when_false;
}

inline float mix(float x, float y, float a) { return x + (y - x) * a; }
inline float saturate(float x) { return clamp(x, 0.0f, 1.0f); }
inline float length(float2 a) { return sqrt(dot(a, a)); }
inline float length(float4 a) { return sqrt(dot(a, a)); }
inline uint popcount(uint x) { return uint(::__popc(x)); }
inline uint clz(uint x) { return uint(::__clz(int(x))); }

// Of MLX's utils.h.
template <typename T, typename U>
inline T ceildiv(T n, U d) {
  return (n + d - 1) / d;
}

namespace precise = ::metal;
namespace fast = ::metal;

}  // namespace metal
