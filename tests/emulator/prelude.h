// What the type gate puts in front of a kernel: Metal's names, spelled in C++ for OpenCL 2021. Declarations only,
// since nothing is run; as strict as Metal where the two languages differ.
#ifdef __OPENCL_CPP_VERSION__
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION __cl_clang_non_portable_kernel_param_types : enable
#define device __global
#define threadgroup __local
#define thread __private
#define constant __constant
#else
// The second reading: plain C++, where bfloat is a class.
#define device
#define threadgroup
#define thread
#define constant
#define __kernel
typedef _Float16 half;
#endif
#define METAL_FUNC inline
#define MTL_CONST constant
#define MLX_MTL_PRAGMA_UNROLL _Pragma("clang loop unroll(full)")
#define INFINITY __builtin_inff()
#define HUGE_VALF __builtin_inff()
#define NAN __builtin_nanf("")
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.1920928955078125e-7f
#define HALF_MAX half(6.5504e+4f)
#define M_PI_F 3.14159274101257f
#define M_E_F 2.71828174591064f
#define M_LN2_F 0.69314718246460f
#define M_LOG2E_F 1.44269502162933f
#define M_SQRT2_F 1.41421353816986f
#define UINT_MAX 0xffffffffu
#define INT_MAX 0x7fffffff
#define INT_MIN (-INT_MAX - 1)

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef ushort uint16_t;
typedef int int32_t;
typedef uint uint32_t;
typedef long int64_t;
typedef ulong uint64_t;
typedef ulong size_t;
typedef long ptrdiff_t;
typedef half float16_t;

// clang's own type warns where numbers lose precision, but not where a constant keeps it, as in `bfloat zero = 0.0f`,
// which Metal rejects; so the gate reads the text a second time, with a class.
#ifdef __OPENCL_CPP_VERSION__
typedef __bf16 bfloat;
#else
// As a class it becomes a float by itself, and is made from one only where the text says so.
struct bfloat {
  ushort bits;
  bfloat() = default;
  constexpr explicit bfloat(float) : bits(0) {}
  constexpr explicit bfloat(half) : bits(0) {}
  constexpr explicit bfloat(int) : bits(0) {}
  constexpr explicit bfloat(uint) : bits(0) {}
  constexpr explicit bfloat(long) : bits(0) {}
  constexpr explicit bfloat(ulong) : bits(0) {}
  constexpr explicit bfloat(bool) : bits(0) {}
  constexpr operator float() const { return 0.0f; }
  constexpr explicit operator half() const { return half(0); }
};
bfloat operator-(bfloat);
#define BFLOAT_OPERATOR(op)           \
  bfloat operator op(bfloat, bfloat); \
  bfloat& operator op##=(bfloat&, bfloat);
BFLOAT_OPERATOR(+)
BFLOAT_OPERATOR(-)
BFLOAT_OPERATOR(*)
BFLOAT_OPERATOR(/)
#endif
typedef bfloat bfloat16_t;

template <typename T, int N>
struct vector_of {
  typedef T type __attribute__((ext_vector_type(N)));
};
#ifndef __OPENCL_CPP_VERSION__
// clang has no vectors of classes, so these know their elements' names and no swizzles.
template <>
struct vector_of<bfloat, 2> {
  struct type {
    bfloat x, y;
    bfloat operator[](int) const;
  };
};
template <>
struct vector_of<bfloat, 3> {
  struct type {
    bfloat x, y, z;
    bfloat operator[](int) const;
  };
};
template <>
struct vector_of<bfloat, 4> {
  struct type {
    bfloat x, y, z, w;
    bfloat operator[](int) const;
  };
};
#endif
template <typename T, int N>
using vec = typename vector_of<T, N>::type;
// The gate writes this where the text says vec<T, N>(...).
template <typename T, int N, typename... Parts>
vec<T, N> make_vector(Parts...);

#define VECTORS(type) \
  typedef vec<type, 2> type##2; \
  typedef vec<type, 3> type##3; \
  typedef vec<type, 4> type##4;
VECTORS(char)
VECTORS(uchar)
VECTORS(short)
VECTORS(ushort)
VECTORS(int)
VECTORS(uint)
VECTORS(long)
VECTORS(ulong)
VECTORS(half)
VECTORS(float)
VECTORS(bfloat)
// Comparing vectors yields integers in OpenCL.
typedef vec<int, 2> bool2;
typedef vec<int, 3> bool3;
typedef vec<int, 4> bool4;
// Metal builds a vector by a call; OpenCL has a cast for it.
#define bool2(...) ((bool2)(__VA_ARGS__))
#define bool4(...) ((bool4)(__VA_ARGS__))
#define int2(...) ((int2)(__VA_ARGS__))
#define int3(...) ((int3)(__VA_ARGS__))
#define int4(...) ((int4)(__VA_ARGS__))
#define uint2(...) ((uint2)(__VA_ARGS__))
#define uint3(...) ((uint3)(__VA_ARGS__))
#define uint4(...) ((uint4)(__VA_ARGS__))
#define ulong2(...) ((ulong2)(__VA_ARGS__))
#define half2(...) ((half2)(__VA_ARGS__))
#define half3(...) ((half3)(__VA_ARGS__))
#define half4(...) ((half4)(__VA_ARGS__))
#define float2(...) ((float2)(__VA_ARGS__))
#define float3(...) ((float3)(__VA_ARGS__))
#define float4(...) ((float4)(__VA_ARGS__))
#define bfloat2(...) make_vector<bfloat, 2>(__VA_ARGS__)
#define bfloat3(...) make_vector<bfloat, 3>(__VA_ARGS__)
#define bfloat4(...) make_vector<bfloat, 4>(__VA_ARGS__)

template <typename To, typename From>
To as_type(From);

namespace metal {

template <typename T>
struct numeric_limits {
  static constexpr T infinity() { return T(INFINITY); }
  static constexpr T quiet_NaN() { return T(NAN); }
  static constexpr T max() { return T(1); }
  static constexpr T min() { return T(0); }
  static constexpr T lowest() { return T(0); }
  static constexpr T epsilon() { return T(1); }
};

template <typename A, typename B>
struct is_same {
  static constexpr constant bool value = false;
};
template <typename A>
struct is_same<A, A> {
  static constexpr constant bool value = true;
};
template <typename A, typename B>
constant constexpr bool is_same_v = is_same<A, B>::value;

// One overload a type, no templates: arguments of two types are ambiguous, as in Metal.
#define WITH_VECTORS(macro, type) macro(type) macro(type##2) macro(type##3) macro(type##4)
#define FLOATS(macro) WITH_VECTORS(macro, float) WITH_VECTORS(macro, half) macro(bfloat)
#define INTEGERS(macro)                                                                                  \
  WITH_VECTORS(macro, int) WITH_VECTORS(macro, uint) WITH_VECTORS(macro, short) WITH_VECTORS(macro, ushort) \
  macro(char) macro(uchar) macro(long) macro(ulong)

#define FLOAT_FUNCTIONS(T)                                                                            \
  T exp(T); T exp2(T); T exp10(T); T log(T); T log2(T); T log10(T); T sqrt(T); T rsqrt(T); T sin(T);  \
  T cos(T); T tan(T); T asin(T); T acos(T); T atan(T); T sinh(T); T cosh(T); T tanh(T); T fabs(T);    \
  T floor(T); T ceil(T); T round(T); T rint(T); T trunc(T); T fract(T); T sign(T); T saturate(T);     \
  T pow(T, T); T powr(T, T); T fmod(T, T); T atan2(T, T); T fmax(T, T); T fmin(T, T); T copysign(T, T); \
  T step(T, T); T fma(T, T, T); T mix(T, T, T); T smoothstep(T, T, T); T divide(T, T);
#define ALL_FUNCTIONS(T) T abs(T); T max(T, T); T min(T, T); T clamp(T, T, T);
#define BIT_FUNCTIONS(T) T popcount(T); T clz(T); T ctz(T); T mulhi(T, T); T absdiff(T, T);
FLOATS(FLOAT_FUNCTIONS)
FLOATS(ALL_FUNCTIONS)
INTEGERS(ALL_FUNCTIONS)
INTEGERS(BIT_FUNCTIONS)
namespace precise {
FLOATS(FLOAT_FUNCTIONS)
}
namespace fast {
FLOATS(FLOAT_FUNCTIONS)
}
#define FLOAT_TESTS(T) bool isnan(T); bool isinf(T); bool isfinite(T); bool isnormal(T); bool signbit(T);
FLOAT_TESTS(float)
FLOAT_TESTS(half)
FLOAT_TESTS(bfloat)
float dot(float2, float2);
float dot(float3, float3);
float dot(float4, float4);
half dot(half2, half2);
half dot(half4, half4);
float length(float2);
float length(float4);
#define SELECT(T) T select(T, T, bool);
FLOATS(SELECT)
INTEGERS(SELECT)
float2 select(float2, float2, bool2);
float4 select(float4, float4, bool4);
bool all(bool2);
bool all(bool4);
bool any(bool2);
bool any(bool4);

enum class mem_flags { mem_none, mem_device, mem_threadgroup, mem_texture };
inline mem_flags operator|(mem_flags a, mem_flags) { return a; }
void threadgroup_barrier(mem_flags);
void simdgroup_barrier(mem_flags);

#define SIMD_FUNCTIONS(T)                                                                            \
  T simd_sum(T); T simd_product(T); T simd_max(T); T simd_min(T); T simd_broadcast(T, ushort);       \
  T simd_broadcast_first(T); T simd_shuffle(T, ushort); T simd_shuffle_xor(T, ushort);               \
  T simd_shuffle_up(T, ushort); T simd_shuffle_down(T, ushort); T simd_shuffle_rotate_up(T, ushort); \
  T simd_shuffle_rotate_down(T, ushort); T simd_prefix_exclusive_sum(T);                             \
  T simd_prefix_inclusive_sum(T); T quad_sum(T); T quad_max(T); T quad_shuffle_xor(T, ushort);
WITH_VECTORS(SIMD_FUNCTIONS, float)
WITH_VECTORS(SIMD_FUNCTIONS, half)
WITH_VECTORS(SIMD_FUNCTIONS, int)
WITH_VECTORS(SIMD_FUNCTIONS, uint)
SIMD_FUNCTIONS(short)
SIMD_FUNCTIONS(ushort)
SIMD_FUNCTIONS(bfloat)
bool simd_all(bool);
bool simd_any(bool);
bool simd_is_first();

template <typename T, int Columns, int Rows>
struct simdgroup_matrix {
  simdgroup_matrix() = default;
  explicit simdgroup_matrix(T);
  thread vec<T, 2>& thread_elements() thread;
  vec<T, 2> elements;
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
template <typename T, int C, int R>
simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T);

// A matrix loads from and stores to its own element type, in device or threadgroup memory.
#define MATRIX_ACCESS(space)                                                                          \
  template <typename T, int C, int R>                                                                 \
  void simdgroup_load(thread simdgroup_matrix<T, C, R>&, const space T*, ulong stride = C,            \
                      ulong2 origin = 0, bool transpose = false);                                     \
  template <typename T, int C, int R>                                                                 \
  void simdgroup_store(simdgroup_matrix<T, C, R>, space T*, ulong stride = C, ulong2 origin = 0,      \
                       bool transpose = false);
MATRIX_ACCESS(device)
#ifdef __OPENCL_CPP_VERSION__
MATRIX_ACCESS(threadgroup)
#endif
// The specification takes every factor by a reference that is not const: no const matrix, and none without a name.
template <typename T, typename U, typename V, int C, int R, int K>
void simdgroup_multiply(thread simdgroup_matrix<T, C, R>&, thread simdgroup_matrix<U, K, R>&,
                        thread simdgroup_matrix<V, C, K>&);
template <typename T, typename U, typename V, typename W, int C, int R, int K>
void simdgroup_multiply_accumulate(thread simdgroup_matrix<T, C, R>&, thread simdgroup_matrix<U, K, R>&,
                                   thread simdgroup_matrix<V, C, K>&, thread simdgroup_matrix<W, C, R>&);

enum memory_order { memory_order_relaxed };
template <typename T>
struct metal_atomic {
  T value;
};
#define ATOMICS(T, space)                                                                 \
  T atomic_load_explicit(const volatile space metal_atomic<T>*, memory_order);            \
  void atomic_store_explicit(volatile space metal_atomic<T>*, T, memory_order);           \
  T atomic_fetch_add_explicit(volatile space metal_atomic<T>*, T, memory_order);          \
  T atomic_fetch_max_explicit(volatile space metal_atomic<T>*, T, memory_order);          \
  T atomic_fetch_min_explicit(volatile space metal_atomic<T>*, T, memory_order);          \
  T atomic_exchange_explicit(volatile space metal_atomic<T>*, T, memory_order);
ATOMICS(int, device)
ATOMICS(int, threadgroup)
ATOMICS(uint, device)
ATOMICS(uint, threadgroup)
ATOMICS(float, device)

}  // namespace metal

// These names are clang's own in OpenCL.
#define atomic metal_atomic
#define atomic_int metal_atomic<int>
#define atomic_uint metal_atomic<uint>
#define atomic_float metal_atomic<float>
using namespace metal;

template <typename T>
struct Limits {
  static constexpr constant T max = T(1);
  static constexpr constant T min = T(0);
  static constexpr constant T finite_max = T(1);
  static constexpr constant T finite_min = T(0);
};
template <typename T, typename U>
inline T ceildiv(T N, U M) {
  return (N + M - 1) / M;
}
