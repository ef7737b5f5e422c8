// The part of <metal_type_traits> that Metal's template code leans on.
#pragma once

#include "scalars.h"

namespace metal {

template <class T, T number>
struct integral_constant {
  static constexpr T value = number;
};
template <bool truth>
using bool_constant = integral_constant<bool, truth>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;

template <class A, class B>
struct is_same : false_type {};
template <class A>
struct is_same<A, A> : true_type {};
template <class A, class B>
constexpr bool is_same_v = is_same<A, B>::value;

template <bool condition, class A, class B>
struct conditional {
  typedef A type;
};
template <class A, class B>
struct conditional<false, A, B> {
  typedef B type;
};
template <bool condition, class A, class B>
using conditional_t = typename conditional<condition, A, B>::type;

template <bool condition, class T = void>
using enable_if_t = typename emulator::enable_if<condition, T>::type;

template <class T>
struct remove_cv {
  typedef T type;
};
template <class T>
struct remove_cv<const T> : remove_cv<T> {};
template <class T>
struct remove_cv<volatile T> : remove_cv<T> {};
template <class T>
using remove_cv_t = typename remove_cv<T>::type;
// Here there is one address space.
template <class T>
using remove_addrspace_t = T;

template <class T>
struct is_integral : bool_constant<emulator::kind<remove_cv_t<T>>::integer> {};
template <class T>
constexpr bool is_integral_v = is_integral<T>::value;
template <class T>
struct is_floating_point
    : bool_constant<emulator::kind<remove_cv_t<T>>::floating || emulator::kind<remove_cv_t<T>>::sixteen> {};
template <class T>
constexpr bool is_floating_point_v = is_floating_point<T>::value;

}  // namespace metal
