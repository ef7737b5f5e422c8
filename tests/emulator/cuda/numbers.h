// Metal's scalar types. Every operation on half and bfloat is done in float and rounded once, which is the correctly
// rounded result, because float has more than twice their digits.

#pragma once

namespace witness {

#ifdef __CUDACC__
inline float float_of_half(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
inline unsigned short half_of_float(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
#endif

}  // namespace witness

namespace metal {

using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned int;
using ulong = unsigned long long;
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using size_t = decltype(sizeof(0));
using ptrdiff_t = long long;

template <typename To, typename From>
inline To as_type(From value) {
  static_assert(sizeof(To) == sizeof(From), "as_type: the sizes differ");
  To result;
  memcpy(&result, &value, sizeof(To));
  return result;
}

struct half_format {
  static inline float widen(ushort bits) { return witness::float_of_half(bits); }
  static inline ushort round(float value) { return witness::half_of_float(value); }
};

struct bfloat_format {
  static inline float widen(ushort bits) { return as_type<float>(uint(bits) << 16); }
  // To nearest, ties to even; a NaN stays one.
  static inline ushort round(float value) {
    uint bits = as_type<uint>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return ushort((bits >> 16) | 0x40u);
    return ushort((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
};

template <typename Format>
struct narrow {
  ushort bits;
  narrow() = default;
  template <typename Number>
  explicit narrow(Number value) : bits(Format::round(float(value))) {}
  operator float() const { return Format::widen(bits); }
};

// The type of an operation on a 16-bit number and another: with an integer it stays narrow, with a float it is float.
template <typename Narrow, typename Other> struct common {};
template <typename Narrow> struct common<Narrow, Narrow> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, float> { using type = float; };
template <typename Narrow> struct common<Narrow, bool> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, short> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, ushort> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, int> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, uint> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, long> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, unsigned long> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, long long> { using type = Narrow; };
template <typename Narrow> struct common<Narrow, ulong> { using type = Narrow; };

// Metal turns a float into a half by itself, but never into a bfloat.
struct half : narrow<half_format> {
  half() = default;
  template <typename Number, typename = typename common<half, Number>::type>
  half(Number value) : narrow<half_format>(value) {}
  explicit half(narrow<bfloat_format> value) : narrow<half_format>(value) {}
};

struct bfloat : narrow<bfloat_format> {
  bfloat() = default;
  template <typename Number>
  explicit bfloat(Number value) : narrow<bfloat_format>(value) {}
};

using float16_t = half;
using bfloat16_t = bfloat;

#define WITNESS_ARITHMETIC(Narrow, operation)                                                   \
  inline Narrow operator operation(Narrow a, Narrow b) {                                        \
    return Narrow(float(a) operation float(b));                                                 \
  }                                                                                             \
  template <typename Other>                                                                     \
  inline typename common<Narrow, Other>::type operator operation(Narrow a, Other b) {           \
    using Result = typename common<Narrow, Other>::type;                                        \
    return Result(float(a) operation float(Result(b)));                                         \
  }                                                                                             \
  template <typename Other>                                                                     \
  inline typename common<Narrow, Other>::type operator operation(Other a, Narrow b) {           \
    using Result = typename common<Narrow, Other>::type;                                        \
    return Result(float(Result(a)) operation float(b));                                         \
  }                                                                                             \
  template <typename Other>                                                                     \
  inline Narrow& operator operation##=(Narrow & a, Other b) {                                   \
    return a = Narrow(a operation b);                                                           \
  }

#define WITNESS_COMPARISON(Narrow, operation)                                                   \
  inline bool operator operation(Narrow a, Narrow b) { return float(a) operation float(b); }    \
  template <typename Other>                                                                     \
  inline bool operator operation(Narrow a, Other b) {                                           \
    return float(a) operation float(typename common<Narrow, Other>::type(b));                   \
  }                                                                                             \
  template <typename Other>                                                                     \
  inline bool operator operation(Other a, Narrow b) {                                           \
    return float(typename common<Narrow, Other>::type(a)) operation float(b);                   \
  }

#define WITNESS_OPERATORS(Narrow)                                                               \
  WITNESS_ARITHMETIC(Narrow, +)                                                                 \
  WITNESS_ARITHMETIC(Narrow, -)                                                                 \
  WITNESS_ARITHMETIC(Narrow, *)                                                                 \
  WITNESS_ARITHMETIC(Narrow, /)                                                                 \
  WITNESS_COMPARISON(Narrow, <)                                                                 \
  WITNESS_COMPARISON(Narrow, >)                                                                 \
  WITNESS_COMPARISON(Narrow, <=)                                                                \
  WITNESS_COMPARISON(Narrow, >=)                                                                \
  WITNESS_COMPARISON(Narrow, ==)                                                                \
  WITNESS_COMPARISON(Narrow, !=)                                                                \
  inline Narrow operator-(Narrow a) { return Narrow(-float(a)); }                               \
  inline Narrow operator+(Narrow a) { return a; }

WITNESS_OPERATORS(half)
WITNESS_OPERATORS(bfloat)

#undef WITNESS_OPERATORS
#undef WITNESS_COMPARISON
#undef WITNESS_ARITHMETIC

template <typename T> struct numeric_limits;

template <>
struct numeric_limits<float> {
  static constexpr inline float max() { return 3.402823466e+38f; }
  static constexpr inline float lowest() { return -3.402823466e+38f; }
  static constexpr inline float min() { return 1.175494351e-38f; }
  static constexpr inline float epsilon() { return 1.192092896e-07f; }
  static inline float infinity() { return as_type<float>(0x7f800000u); }
  static inline float quiet_NaN() { return as_type<float>(0x7fc00000u); }
};

#define WITNESS_NARROW_LIMITS(Narrow, maximum, smallest, step)                                  \
  template <>                                                                                   \
  struct numeric_limits<Narrow> {                                                               \
    static inline Narrow max() { return Narrow(maximum); }                                      \
    static inline Narrow lowest() { return Narrow(-maximum); }                                  \
    static inline Narrow min() { return Narrow(smallest); }                                     \
    static inline Narrow epsilon() { return Narrow(step); }                                     \
    static inline Narrow infinity() { return Narrow(numeric_limits<float>::infinity()); }       \
    static inline Narrow quiet_NaN() { return Narrow(numeric_limits<float>::quiet_NaN()); }     \
  };

WITNESS_NARROW_LIMITS(half, 65504.0f, 6.103515625e-05f, 9.765625e-04f)
WITNESS_NARROW_LIMITS(bfloat, 3.389531389e+38f, 1.175494351e-38f, 7.8125e-03f)

#undef WITNESS_NARROW_LIMITS

#define WITNESS_INTEGER_LIMITS(Integer, smallest, largest)                                      \
  template <>                                                                                   \
  struct numeric_limits<Integer> {                                                              \
    static constexpr inline Integer min() { return smallest; }                                  \
    static constexpr inline Integer lowest() { return smallest; }                               \
    static constexpr inline Integer max() { return largest; }                                   \
  };

WITNESS_INTEGER_LIMITS(short, -32768, 32767)
WITNESS_INTEGER_LIMITS(ushort, 0, 65535)
WITNESS_INTEGER_LIMITS(int, -2147483647 - 1, 2147483647)
WITNESS_INTEGER_LIMITS(uint, 0u, 4294967295u)

#undef WITNESS_INTEGER_LIMITS

}  // namespace metal

#ifndef INFINITY
#define INFINITY (metal::numeric_limits<float>::infinity())
#endif
#ifndef NAN
#define NAN (metal::numeric_limits<float>::quiet_NaN())
#endif
#ifndef FLT_MAX
#define FLT_MAX 3.402823466e+38f
#endif
#define HALF_MAX (metal::half(65504.0f))
#define M_PI_F 3.14159265358979323846f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LN2_F 0.69314718055994530942f
