// What Metal text needs of its standard library, in CUDA: the text of a kernel follows this inside `namespace metal`,
// so that Metal's names (float4, half, max) hide CUDA's. No header of the CUDA toolkit is needed.

#pragma once

// Address spaces: CUDA finds them out itself. Threadgroup arrays are rewritten before the compiler reads them.
#define device
#define constant
#define thread
#define threadgroup

#define METAL_FUNC inline

#include "numbers.h"
#include "vectors.h"
#include "mathematics.h"
#include "simdgroups.h"
#include "matrices.h"
#include "atomics.h"
