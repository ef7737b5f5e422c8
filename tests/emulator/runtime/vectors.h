// Metal's vectors of two, three and four elements, by .x .y .z .w; the longer swizzles (.xy) do not compile here.
#pragma once

#include "scalars.h"

namespace metal {

template <class T, int N>
struct vec;

#define EMULATOR_VECTOR_MEMBERS(N)                                                              \
  vec() = default;                                                                              \
  template <class S, emulator::if_scalar<S> = 0>                                                \
  EMULATOR_INLINE vec(S all) {                                                                  \
    for (int i = 0; i < N; ++i) elements[i] = T(all);                                           \
  }                                                                                             \
  template <class S>                                                                            \
  EMULATOR_INLINE explicit vec(const vec<S, N>& other) {                                        \
    for (int i = 0; i < N; ++i) elements[i] = T(other[i]);                                      \
  }                                                                                             \
  EMULATOR_INLINE T& operator[](int i) { return elements[i]; }                                  \
  EMULATOR_INLINE const T& operator[](int i) const { return elements[i]; }

template <class T>
struct alignas(2 * sizeof(T)) vec<T, 2> {
  union {
    T elements[2];
    struct { T x, y; };
    struct { T r, g; };
  };
  EMULATOR_VECTOR_MEMBERS(2)
  template <class A, class B>
  EMULATOR_INLINE vec(A a, B b) : elements{T(a), T(b)} {}
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 3> {
  union {
    T elements[3];
    struct { T x, y, z; };
    struct { T r, g, b; };
  };
  EMULATOR_VECTOR_MEMBERS(3)
  template <class A, class B, class C>
  EMULATOR_INLINE vec(A a, B b, C c) : elements{T(a), T(b), T(c)} {}
  EMULATOR_INLINE vec(vec<T, 2> a, T b) : elements{a[0], a[1], b} {}
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 4> {
  union {
    T elements[4];
    struct { T x, y, z, w; };
    struct { T r, g, b, a; };
  };
  EMULATOR_VECTOR_MEMBERS(4)
  template <class A, class B, class C, class D>
  EMULATOR_INLINE vec(A a, B b, C c, D d) : elements{T(a), T(b), T(c), T(d)} {}
  EMULATOR_INLINE vec(vec<T, 2> a, vec<T, 2> b) : elements{a[0], a[1], b[0], b[1]} {}
  EMULATOR_INLINE vec(vec<T, 3> a, T b) : elements{a[0], a[1], a[2], b} {}
};
#undef EMULATOR_VECTOR_MEMBERS

#define EMULATOR_VECTOR_OPERATOR(op)                                                          \
  template <class T, int N>                                                                   \
  EMULATOR_INLINE vec<T, N> operator op(vec<T, N> a, vec<T, N> b) {                           \
    for (int i = 0; i < N; ++i) a[i] = a[i] op b[i];                                          \
    return a;                                                                                 \
  }                                                                                           \
  template <class T, int N, class S, emulator::if_scalar<S> = 0>                              \
  EMULATOR_INLINE vec<T, N> operator op(vec<T, N> a, S b) { return a op vec<T, N>(b); }       \
  template <class T, int N, class S, emulator::if_scalar<S> = 0>                              \
  EMULATOR_INLINE vec<T, N> operator op(S a, vec<T, N> b) { return vec<T, N>(a) op b; }       \
  template <class T, int N, class S>                                                          \
  EMULATOR_INLINE vec<T, N>& operator op##=(vec<T, N>& a, S b) { return a = a op b; }
EMULATOR_VECTOR_OPERATOR(+)
EMULATOR_VECTOR_OPERATOR(-)
EMULATOR_VECTOR_OPERATOR(*)
EMULATOR_VECTOR_OPERATOR(/)
EMULATOR_VECTOR_OPERATOR(%)
EMULATOR_VECTOR_OPERATOR(&)
EMULATOR_VECTOR_OPERATOR(|)
EMULATOR_VECTOR_OPERATOR(^)
EMULATOR_VECTOR_OPERATOR(<<)
EMULATOR_VECTOR_OPERATOR(>>)
#undef EMULATOR_VECTOR_OPERATOR

#define EMULATOR_VECTOR_COMPARISON(op)                                                           \
  template <class T, int N>                                                                      \
  EMULATOR_INLINE vec<bool, N> operator op(vec<T, N> a, vec<T, N> b) {                           \
    vec<bool, N> result;                                                                         \
    for (int i = 0; i < N; ++i) result[i] = a[i] op b[i];                                        \
    return result;                                                                               \
  }                                                                                              \
  template <class T, int N, class S, emulator::if_scalar<S> = 0>                                 \
  EMULATOR_INLINE vec<bool, N> operator op(vec<T, N> a, S b) { return a op vec<T, N>(b); }
EMULATOR_VECTOR_COMPARISON(<)
EMULATOR_VECTOR_COMPARISON(>)
EMULATOR_VECTOR_COMPARISON(<=)
EMULATOR_VECTOR_COMPARISON(>=)
EMULATOR_VECTOR_COMPARISON(==)
EMULATOR_VECTOR_COMPARISON(!=)
#undef EMULATOR_VECTOR_COMPARISON

template <class T, int N>
EMULATOR_INLINE vec<T, N> operator-(vec<T, N> a) {
  for (int i = 0; i < N; ++i) a[i] = -a[i];
  return a;
}

#define EMULATOR_VECTORS(T)   \
  typedef vec<T, 2> T##2;     \
  typedef vec<T, 3> T##3;     \
  typedef vec<T, 4> T##4;
EMULATOR_VECTORS(bool)
EMULATOR_VECTORS(char)
EMULATOR_VECTORS(uchar)
EMULATOR_VECTORS(short)
EMULATOR_VECTORS(ushort)
EMULATOR_VECTORS(int)
EMULATOR_VECTORS(uint)
EMULATOR_VECTORS(long)
EMULATOR_VECTORS(ulong)
EMULATOR_VECTORS(half)
EMULATOR_VECTORS(bfloat)
EMULATOR_VECTORS(float)
#undef EMULATOR_VECTORS

}  // namespace metal

namespace emulator {

// The smallest piece that one thread may write beside another's: an element, also of a vector.
template <class T>
struct granule {
  static constexpr unsigned size = alignof(T);
};
template <class T, int N>
struct granule<metal::vec<T, N>> {
  static constexpr unsigned size = sizeof(T);
};

}  // namespace emulator
