// The functions of Metal's standard library, in float; 16-bit arguments are rounded back, vectors go element by element.
#pragma once

#include "type_traits.h"
#include "vectors.h"

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VALF __builtin_inff()
#define FLT_MAX __FLT_MAX__
#define FLT_MIN __FLT_MIN__
#define FLT_EPSILON __FLT_EPSILON__
#define INT_MAX __INT_MAX__
#define INT_MIN (-__INT_MAX__ - 1)
#define UINT_MAX (__INT_MAX__ * 2u + 1u)
#define M_PI_F 3.14159265358979323846f
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LN2_F 0.693147180559945309417f
#define M_SQRT2_F 1.41421356237309504880f

namespace emulator {

// Of the C library, and not as built-ins: a compiler that folds a constant may round it otherwise than the library.
extern "C" {
float expf(float);
float exp2f(float);
float logf(float);
float log2f(float);
float log10f(float);
float sinf(float);
float cosf(float);
float tanf(float);
float asinf(float);
float acosf(float);
float atanf(float);
float sinhf(float);
float coshf(float);
float tanhf(float);
float powf(float, float);
float fmodf(float, float);
float atan2f(float, float);
}

}  // namespace emulator

namespace metal {

#define EMULATOR_VECTOR_FORM(name)                                           \
  template <class T, int N>                                                  \
  EMULATOR_INLINE vec<T, N> name(vec<T, N> a) {                              \
    for (int i = 0; i < N; ++i) a[i] = name(a[i]);                           \
    return a;                                                                \
  }
#define EMULATOR_FUNCTION(name, value)                                       \
  EMULATOR_INLINE float name(float a) { return value; }                      \
  template <class T, emulator::if_sixteen<T> = 0>                            \
  EMULATOR_INLINE T name(T a) { return T(name(static_cast<float>(a))); }     \
  EMULATOR_VECTOR_FORM(name)
EMULATOR_FUNCTION(exp, emulator::expf(a))
EMULATOR_FUNCTION(exp2, emulator::exp2f(a))
EMULATOR_FUNCTION(exp10, emulator::powf(10.0f, a))
EMULATOR_FUNCTION(log, emulator::logf(a))
EMULATOR_FUNCTION(log2, emulator::log2f(a))
EMULATOR_FUNCTION(log10, emulator::log10f(a))
EMULATOR_FUNCTION(sqrt, __builtin_sqrtf(a))
EMULATOR_FUNCTION(rsqrt, 1.0f / __builtin_sqrtf(a))
EMULATOR_FUNCTION(sin, emulator::sinf(a))
EMULATOR_FUNCTION(cos, emulator::cosf(a))
EMULATOR_FUNCTION(tan, emulator::tanf(a))
EMULATOR_FUNCTION(asin, emulator::asinf(a))
EMULATOR_FUNCTION(acos, emulator::acosf(a))
EMULATOR_FUNCTION(atan, emulator::atanf(a))
EMULATOR_FUNCTION(sinh, emulator::sinhf(a))
EMULATOR_FUNCTION(cosh, emulator::coshf(a))
EMULATOR_FUNCTION(tanh, emulator::tanhf(a))
EMULATOR_FUNCTION(floor, __builtin_floorf(a))
EMULATOR_FUNCTION(ceil, __builtin_ceilf(a))
EMULATOR_FUNCTION(trunc, __builtin_truncf(a))
EMULATOR_FUNCTION(round, __builtin_roundf(a))
EMULATOR_FUNCTION(rint, __builtin_rintf(a))
EMULATOR_FUNCTION(fabs, __builtin_fabsf(a))
EMULATOR_FUNCTION(abs, __builtin_fabsf(a))
EMULATOR_FUNCTION(fract, a - __builtin_floorf(a))
EMULATOR_FUNCTION(sign, a > 0.0f ? 1.0f : a < 0.0f ? -1.0f : a)
EMULATOR_FUNCTION(saturate, a > 1.0f ? 1.0f : a > 0.0f ? a : 0.0f)
#undef EMULATOR_FUNCTION

template <class T, emulator::if_integer<T> = 0>
EMULATOR_INLINE T abs(T a) { return a < 0 ? static_cast<T>(-a) : a; }
EMULATOR_INLINE bool isnan(float a) { return a != a; }
EMULATOR_INLINE bool isinf(float a) { return __builtin_isinf(a); }
EMULATOR_INLINE bool isfinite(float a) { return __builtin_isfinite(a); }
EMULATOR_INLINE bool signbit(float a) { return __builtin_signbitf(a); }

// Both arguments of one type, as Metal's overloads ask for. A NaN loses against a number.
template <class T, emulator::if_scalar<T> = 0>
EMULATOR_INLINE T max(T a, T b) { return a > b || b != b ? a : b; }
template <class T, emulator::if_scalar<T> = 0>
EMULATOR_INLINE T min(T a, T b) { return a < b || b != b ? a : b; }
template <class T>
EMULATOR_INLINE T fmax(T a, T b) { return max(a, b); }
template <class T>
EMULATOR_INLINE T fmin(T a, T b) { return min(a, b); }
template <class T, emulator::if_scalar<T> = 0>
EMULATOR_INLINE T pow(T a, T b) { return T(emulator::powf(a, b)); }
template <class T, emulator::if_scalar<T> = 0>
EMULATOR_INLINE T powr(T a, T b) { return T(emulator::powf(a, b)); }
template <class T, emulator::if_scalar<T> = 0>
EMULATOR_INLINE T fmod(T a, T b) { return T(emulator::fmodf(a, b)); }
template <class T, emulator::if_scalar<T> = 0>
EMULATOR_INLINE T atan2(T a, T b) { return T(emulator::atan2f(a, b)); }
template <class T, emulator::if_scalar<T> = 0>
EMULATOR_INLINE T copysign(T a, T b) { return T(__builtin_copysignf(a, b)); }
#define EMULATOR_VECTOR_FORM_OF_TWO(name)                                    \
  template <class T, int N>                                                  \
  EMULATOR_INLINE vec<T, N> name(vec<T, N> a, vec<T, N> b) {                 \
    for (int i = 0; i < N; ++i) a[i] = name(a[i], b[i]);                     \
    return a;                                                                \
  }
EMULATOR_VECTOR_FORM_OF_TWO(max)
EMULATOR_VECTOR_FORM_OF_TWO(min)
EMULATOR_VECTOR_FORM_OF_TWO(pow)
#undef EMULATOR_VECTOR_FORM_OF_TWO
#undef EMULATOR_VECTOR_FORM

EMULATOR_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
template <class T, emulator::if_sixteen<T> = 0>
EMULATOR_INLINE T fma(T a, T b, T c) { return T(__builtin_fmaf(a, b, c)); }
template <class T, int N>
EMULATOR_INLINE vec<T, N> fma(vec<T, N> a, vec<T, N> b, vec<T, N> c) {
  for (int i = 0; i < N; ++i) a[i] = fma(a[i], b[i], c[i]);
  return a;
}
EMULATOR_INLINE float mad(float a, float b, float c) { return a * b + c; }
template <class T>
EMULATOR_INLINE T clamp(T a, T low, T high) { return min(max(a, low), high); }
template <class T>
EMULATOR_INLINE T mix(T a, T b, T share) { return a + (b - a) * share; }
template <class T, emulator::if_scalar<T> = 0>
EMULATOR_INLINE T select(T otherwise, T chosen, bool condition) { return condition ? chosen : otherwise; }
template <class T, int N>
EMULATOR_INLINE vec<T, N> select(vec<T, N> otherwise, vec<T, N> chosen, vec<bool, N> condition) {
  for (int i = 0; i < N; ++i) otherwise[i] = condition[i] ? chosen[i] : otherwise[i];
  return otherwise;
}
template <class T, int N>
EMULATOR_INLINE T dot(vec<T, N> a, vec<T, N> b) {
  T sum = a[0] * b[0];
  for (int i = 1; i < N; ++i) sum = sum + a[i] * b[i];
  return sum;
}
template <int N>
EMULATOR_INLINE bool any(vec<bool, N> a) {
  bool result = false;
  for (int i = 0; i < N; ++i) result = result || a[i];
  return result;
}
template <int N>
EMULATOR_INLINE bool all(vec<bool, N> a) {
  bool result = true;
  for (int i = 0; i < N; ++i) result = result && a[i];
  return result;
}
EMULATOR_INLINE uint popcount(uint a) { return __builtin_popcount(a); }
EMULATOR_INLINE uint clz(uint a) { return a ? __builtin_clz(a) : 32; }
EMULATOR_INLINE uint ctz(uint a) { return a ? __builtin_ctz(a) : 32; }

// The emulator knows one precision; speed and accuracy of the two are Apple's.
namespace fast {
using namespace metal;
}
namespace precise {
using namespace metal;
}

template <class T>
struct numeric_limits {
  static constexpr T max() { return T(-1) > T(0) ? T(-1) : T((1ul << (8 * sizeof(T) - 1)) - 1); }
  static constexpr T min() { return T(-1) > T(0) ? T(0) : T(-max() - 1); }
  static constexpr T lowest() { return min(); }
};
#define EMULATOR_LIMITS(T, largest, smallest, step)                   \
  template <>                                                         \
  struct numeric_limits<T> {                                          \
    static constexpr T max() { return T(largest); }                   \
    static constexpr T lowest() { return T(-(largest)); }             \
    static constexpr T min() { return T(smallest); }                  \
    static constexpr T epsilon() { return T(step); }                  \
    static constexpr T infinity() { return T(__builtin_inff()); }     \
    static constexpr T quiet_NaN() { return T(__builtin_nanf("")); }  \
  };
EMULATOR_LIMITS(float, __FLT_MAX__, __FLT_MIN__, __FLT_EPSILON__)
EMULATOR_LIMITS(half, 65504.0f, 0.00006103515625f, 0.0009765625f)
EMULATOR_LIMITS(bfloat, 3.38953138925153547590470800371487867e38f, __FLT_MIN__, 0.0078125f)
#undef EMULATOR_LIMITS

}  // namespace metal

template <class To, class From>
EMULATOR_INLINE To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From), "as_type keeps the size");
  return __builtin_bit_cast(To, from);
}
