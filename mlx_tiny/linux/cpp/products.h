// Products of small matrices, by tiles whose sums stay in registers.
#pragma once

#include <algorithm>

#include "vectors.h"

namespace tiny {

// Vectors of a tile, and its rows: together with a row of B, they fill the registers.
constexpr int TILE_VECTORS = 3;
constexpr int TILE_ROWS = WIDTH == 8 ? 4 : 8;

// A matrix whose entry (i, j) is at start[i * row + j * column].
struct Matrix {
  const float* start;
  long row, column;

  Matrix at(long i, long j) const {
    return {start + i * row + j * column, row, column};
  }
};

template <int ROWS, int VECTORS>
void tile(long depth, Matrix a, const float* b, long b_row, float* c, long c_row, bool add) {
  Vector sums[ROWS][VECTORS];
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j)
      sums[i][j] = add ? load(c + i * c_row + j * WIDTH) : Vector{};
  for (long d = 0; d < depth; ++d) {
    Vector row[VECTORS];
    for (int j = 0; j < VECTORS; ++j)
      row[j] = load(b + d * b_row + j * WIDTH);
    for (int i = 0; i < ROWS; ++i) {
      const float factor = a.start[i * a.row + d * a.column];
      for (int j = 0; j < VECTORS; ++j)
        sums[i][j] += factor * row[j];
    }
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j)
      store(c + i * c_row + j * WIDTH, sums[i][j]);
}

template <int ROWS>
void strip(long columns, long depth, Matrix a, const float* b, long b_row, float* c, long c_row, bool add) {
  long j = 0;
  for (; j + TILE_VECTORS * WIDTH <= columns; j += TILE_VECTORS * WIDTH)
    tile<ROWS, TILE_VECTORS>(depth, a, b + j, b_row, c + j, c_row, add);
  if (j + 2 * WIDTH <= columns) {
    tile<ROWS, 2>(depth, a, b + j, b_row, c + j, c_row, add);
    j += 2 * WIDTH;
  }
  if (j < columns)
    tile<ROWS, 1>(depth, a, b + j, b_row, c + j, c_row, add);
}

// C = A B, or C + A B: A [rows, depth], B [depth, columns] and C [rows, columns], the columns a multiple of WIDTH.
inline void multiply(
    long rows, long columns, long depth, Matrix a, const float* b, long b_row, float* c, long c_row, bool add) {
  long i = 0;
  for (; i + TILE_ROWS <= rows; i += TILE_ROWS)
    strip<TILE_ROWS>(columns, depth, a.at(i, 0), b, b_row, c + i * c_row, c_row, add);
  for (; i + 2 <= rows; i += 2)
    strip<2>(columns, depth, a.at(i, 0), b, b_row, c + i * c_row, c_row, add);
  if (i < rows)
    strip<1>(columns, depth, a.at(i, 0), b, b_row, c + i * c_row, c_row, add);
}

}  // namespace tiny
