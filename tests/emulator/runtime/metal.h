// In place of <metal_stdlib>: included before a kernel's text, it makes C++17 of it.
#pragma once

#include "atomics.h"

using namespace metal;

#define METAL_FUNC inline

// Last, because the headers above use some of these words: all memory is one address space here.
#define device
#define constant
#define thread
#define threadgroup
#define kernel
