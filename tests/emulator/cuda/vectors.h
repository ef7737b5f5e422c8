// Metal's vectors of two, three and four, without swizzles: .x to .w, an index, and elementwise operations.

#pragma once

namespace metal {

// In a parameter's type this keeps the scalar beside a vector out of deduction, so that `vector * 2` converts.
template <typename T> struct scalar_beside { using type = T; };

template <typename T, int N> struct vec;

#define WITNESS_VECTOR(N, room, members, splat, pieces, converted)                              \
  template <typename T>                                                                         \
  struct alignas(room * sizeof(T)) vec<T, N> {                                                  \
    T members;                                                                                  \
    vec() = default;                                                                            \
    vec(typename scalar_beside<T>::type value) : splat {}                                       \
    template <typename Other>                                                                   \
    explicit vec(vec<Other, N> other) : converted {}                                            \
    pieces                                                                                      \
    inline T& operator[](int i) { return (&x)[i]; }                                             \
    inline const T& operator[](int i) const { return (&x)[i]; }                                 \
  };

#define WITNESS_COMMA ,
WITNESS_VECTOR(2, 2, x WITNESS_COMMA y, x(value) WITNESS_COMMA y(value),
               vec(T a WITNESS_COMMA T b) : x(a) WITNESS_COMMA y(b) {},
               x(T(other.x)) WITNESS_COMMA y(T(other.y)))
WITNESS_VECTOR(3, 4, x WITNESS_COMMA y WITNESS_COMMA z, x(value) WITNESS_COMMA y(value) WITNESS_COMMA z(value),
               vec(T a WITNESS_COMMA T b WITNESS_COMMA T c) : x(a) WITNESS_COMMA y(b) WITNESS_COMMA z(c) {},
               x(T(other.x)) WITNESS_COMMA y(T(other.y)) WITNESS_COMMA z(T(other.z)))
WITNESS_VECTOR(4, 4, x WITNESS_COMMA y WITNESS_COMMA z WITNESS_COMMA w,
               x(value) WITNESS_COMMA y(value) WITNESS_COMMA z(value) WITNESS_COMMA w(value),
               vec(T a WITNESS_COMMA T b WITNESS_COMMA T c WITNESS_COMMA T d)
               : x(a) WITNESS_COMMA y(b) WITNESS_COMMA z(c) WITNESS_COMMA w(d) {}
               vec(vec<T WITNESS_COMMA 2> a WITNESS_COMMA vec<T WITNESS_COMMA 2> b)
               : x(a.x) WITNESS_COMMA y(a.y) WITNESS_COMMA z(b.x) WITNESS_COMMA w(b.y) {},
               x(T(other.x)) WITNESS_COMMA y(T(other.y)) WITNESS_COMMA z(T(other.z)) WITNESS_COMMA w(T(other.w)))
#undef WITNESS_COMMA
#undef WITNESS_VECTOR

#define WITNESS_ELEMENTWISE(operation)                                                          \
  template <typename T, int N>                                                                  \
  inline vec<T, N> operator operation(vec<T, N> a, vec<T, N> b) {                               \
    vec<T, N> result;                                                                           \
    for (int i = 0; i < N; i++) result[i] = T(a[i] operation b[i]);                             \
    return result;                                                                              \
  }                                                                                             \
  template <typename T, int N>                                                                  \
  inline vec<T, N> operator operation(vec<T, N> a, typename scalar_beside<T>::type b) {         \
    return a operation vec<T, N>(b);                                                            \
  }                                                                                             \
  template <typename T, int N>                                                                  \
  inline vec<T, N> operator operation(typename scalar_beside<T>::type a, vec<T, N> b) {         \
    return vec<T, N>(a) operation b;                                                            \
  }                                                                                             \
  template <typename T, int N, typename Other>                                                  \
  inline vec<T, N>& operator operation##=(vec<T, N>& a, Other b) {                              \
    return a = a operation b;                                                                   \
  }

WITNESS_ELEMENTWISE(+)
WITNESS_ELEMENTWISE(-)
WITNESS_ELEMENTWISE(*)
WITNESS_ELEMENTWISE(/)
#undef WITNESS_ELEMENTWISE

#define WITNESS_COMPARED(operation)                                                             \
  template <typename T, int N>                                                                  \
  inline vec<bool, N> operator operation(vec<T, N> a, vec<T, N> b) {                            \
    vec<bool, N> result;                                                                        \
    for (int i = 0; i < N; i++) result[i] = a[i] operation b[i];                                \
    return result;                                                                              \
  }

WITNESS_COMPARED(<)
WITNESS_COMPARED(>)
WITNESS_COMPARED(<=)
WITNESS_COMPARED(>=)
WITNESS_COMPARED(==)
WITNESS_COMPARED(!=)
#undef WITNESS_COMPARED

template <typename T, int N>
inline vec<T, N> operator-(vec<T, N> a) {
  for (int i = 0; i < N; i++) a[i] = T(-a[i]);
  return a;
}

template <typename T, int N>
inline T dot(vec<T, N> a, vec<T, N> b) {
  T sum = T(a[0] * b[0]);
  for (int i = 1; i < N; i++) sum = T(sum + a[i] * b[i]);
  return sum;
}

template <int N>
inline bool all(vec<bool, N> a) {
  bool result = true;
  for (int i = 0; i < N; i++) result = result && a[i];
  return result;
}

template <int N>
inline bool any(vec<bool, N> a) {
  bool result = false;
  for (int i = 0; i < N; i++) result = result || a[i];
  return result;
}

#define WITNESS_VECTOR_NAMES(type)                                                              \
  using type##2 = vec<type, 2>;                                                                 \
  using type##3 = vec<type, 3>;                                                                 \
  using type##4 = vec<type, 4>;

WITNESS_VECTOR_NAMES(float)
WITNESS_VECTOR_NAMES(half)
WITNESS_VECTOR_NAMES(bfloat)
WITNESS_VECTOR_NAMES(bool)
WITNESS_VECTOR_NAMES(char)
WITNESS_VECTOR_NAMES(uchar)
WITNESS_VECTOR_NAMES(short)
WITNESS_VECTOR_NAMES(ushort)
WITNESS_VECTOR_NAMES(int)
WITNESS_VECTOR_NAMES(uint)
WITNESS_VECTOR_NAMES(ulong)
#undef WITNESS_VECTOR_NAMES

}  // namespace metal
