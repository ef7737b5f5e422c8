// Metal's scalar types. A 16-bit operation rounds to 16 bits each time; float becomes half silently, bfloat only when
// asked, as in Metal.
#pragma once

#include "interface.h"

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef __UINTPTR_TYPE__ uintptr_t;

namespace emulator {

template <bool condition, class T = int>
struct enable_if {};
template <class T>
struct enable_if<true, T> {
  typedef T type;
};

template <class T>
struct kind {
  static constexpr bool integer = false, floating = false, sixteen = false;
};
#define EMULATOR_INTEGER(T)                                                 \
  template <>                                                               \
  struct kind<T> {                                                          \
    static constexpr bool integer = true, floating = false, sixteen = false; \
  };
EMULATOR_INTEGER(bool)
EMULATOR_INTEGER(char)
EMULATOR_INTEGER(signed char)
EMULATOR_INTEGER(unsigned char)
EMULATOR_INTEGER(short)
EMULATOR_INTEGER(unsigned short)
EMULATOR_INTEGER(int)
EMULATOR_INTEGER(unsigned int)
EMULATOR_INTEGER(long)
EMULATOR_INTEGER(unsigned long)
EMULATOR_INTEGER(long long)
EMULATOR_INTEGER(unsigned long long)
#undef EMULATOR_INTEGER
template <>
struct kind<float> {
  static constexpr bool integer = false, floating = true, sixteen = false;
};

template <class T>
using if_integer = typename enable_if<kind<T>::integer>::type;
template <class T>
using if_float = typename enable_if<kind<T>::floating>::type;
template <class T>
using if_plain = typename enable_if<kind<T>::integer || kind<T>::floating>::type;
template <class T>
using if_sixteen = typename enable_if<kind<T>::sixteen>::type;
template <class T>
using if_scalar = typename enable_if<kind<T>::integer || kind<T>::floating || kind<T>::sixteen>::type;

}  // namespace emulator

struct half {
  emulator::Float16 value;
  half() = default;
  template <class N, emulator::if_plain<N> = 0>
  EMULATOR_INLINE EMULATOR_CONSTEXPR half(N number) : value(static_cast<emulator::Float16>(number)) {}
  EMULATOR_INLINE EMULATOR_CONSTEXPR operator float() const { return static_cast<float>(value); }
};

struct bfloat {
  ushort bits;
  bfloat() = default;
  template <class N, emulator::if_plain<N> = 0>
  EMULATOR_INLINE EMULATOR_CONSTEXPR explicit bfloat(N number) : bits(rounded(static_cast<float>(number))) {}
  EMULATOR_INLINE EMULATOR_CONSTEXPR explicit bfloat(half number) : bits(rounded(static_cast<float>(number))) {}
  EMULATOR_INLINE EMULATOR_CONSTEXPR operator float() const { return __builtin_bit_cast(float, static_cast<uint>(bits) << 16); }

 private:
  // To nearest, ties to even; a NaN keeps its upper bits and stays quiet.
  EMULATOR_INLINE static EMULATOR_CONSTEXPR ushort rounded(float number) {
    uint word = __builtin_bit_cast(uint, number);
    if ((word & 0x7fffffffu) > 0x7f800000u) return static_cast<ushort>((word >> 16) | 0x40u);
    return static_cast<ushort>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
  }
};

typedef half float16_t;
typedef bfloat bfloat16_t;

namespace emulator {
template <>
struct kind<half> {
  static constexpr bool integer = false, floating = false, sixteen = true;
};
template <>
struct kind<bfloat> : kind<half> {};
}  // namespace emulator

// With float the result is float, with an integer it stays 16 bits wide: the usual arithmetic conversions.
#define EMULATOR_OPERATOR(T, op)                                                                                   \
  EMULATOR_INLINE EMULATOR_CONSTEXPR T operator op(T a, T b) { return T(static_cast<float>(a) op static_cast<float>(b)); }  \
  template <class N, emulator::if_float<N> = 0>                                                                    \
  EMULATOR_INLINE EMULATOR_CONSTEXPR float operator op(T a, N b) { return static_cast<float>(a) op b; }                     \
  template <class N, emulator::if_float<N> = 0>                                                                    \
  EMULATOR_INLINE EMULATOR_CONSTEXPR float operator op(N a, T b) { return a op static_cast<float>(b); }                     \
  template <class N, emulator::if_integer<N> = 0>                                                                  \
  EMULATOR_INLINE EMULATOR_CONSTEXPR T operator op(T a, N b) { return a op T(b); }                                          \
  template <class N, emulator::if_integer<N> = 0>                                                                  \
  EMULATOR_INLINE EMULATOR_CONSTEXPR T operator op(N a, T b) { return T(a) op b; }
#define EMULATOR_OPERATORS(T)                                                            \
  EMULATOR_OPERATOR(T, +)                                                                \
  EMULATOR_OPERATOR(T, -)                                                                \
  EMULATOR_OPERATOR(T, *)                                                                \
  EMULATOR_OPERATOR(T, /)                                                                \
  EMULATOR_INLINE EMULATOR_CONSTEXPR T operator-(T a) { return T(-static_cast<float>(a)); }       \
  EMULATOR_INLINE EMULATOR_CONSTEXPR T operator+(T a) { return a; }
EMULATOR_OPERATORS(half)
EMULATOR_OPERATORS(bfloat)
#undef EMULATOR_OPERATORS
#undef EMULATOR_OPERATOR

#define EMULATOR_ASSIGNMENT(op)                                                                               \
  template <class N, emulator::if_scalar<N> = 0>                                                              \
  EMULATOR_INLINE EMULATOR_CONSTEXPR half& operator op##=(half& a, N b) { return a = a op b; }                         \
  EMULATOR_INLINE EMULATOR_CONSTEXPR bfloat& operator op##=(bfloat& a, bfloat b) { return a = a op b; }
EMULATOR_ASSIGNMENT(+)
EMULATOR_ASSIGNMENT(-)
EMULATOR_ASSIGNMENT(*)
EMULATOR_ASSIGNMENT(/)
#undef EMULATOR_ASSIGNMENT
