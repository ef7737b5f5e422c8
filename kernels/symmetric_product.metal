// product = alpha X X^T + beta addend for every matrix X [R, C] of a bank. The addend [R, R] is symmetric, and read
// only where ADDS. A threadgroup owns one square tile on or below the diagonal and writes its mirror image as well,
// each pair of entries from one number: the product is symmetric to the bit. Each of its four simdgroups owns a quarter
// of the tile.

threadgroup float tiles[2 * 16 * BLOCKS * (32 + 4)];

constexpr uint SIDE = BLOCKS;
constexpr uint TILE = 16 * SIDE;
constexpr uint DEPTH = 32;
constexpr uint STRIDE = DEPTH + 4;
constexpr uint SUM_STRIDE = TILE + 2;

const uint worker = thread_position_in_threadgroup.x;
const uint group = simdgroup_index_in_threadgroup;
const uint rows = uint(x_shape[1]);
const uint columns = uint(x_shape[2]);
const uint number = threadgroup_position_in_grid.y;

// Tiles are numbered row by row of the lower triangle: 0; 1 2; 3 4 5; ...
uint tile_row = 0;
while ((tile_row + 1) * (tile_row + 2) / 2 <= threadgroup_position_in_grid.x) {
  tile_row += 1;
}
const uint tile_column = threadgroup_position_in_grid.x - tile_row * (tile_row + 1) / 2;
const uint upper = tile_row * TILE;
const uint left = tile_column * TILE;
// On the diagonal both factors are the same rows, held once.
const bool diagonal = tile_row == tile_column;
const uint other = diagonal ? 0 : TILE * STRIDE;

const uint quarter_row = group / 2 * 8 * SIDE;
const uint quarter_column = group % 2 * 8 * SIDE;
simdgroup_float8x8 sums[SIDE][SIDE];
#pragma unroll
for (uint i = 0; i < SIDE; i++) {
#pragma unroll
  for (uint j = 0; j < SIDE; j++) {
    sums[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
}

for (uint start = 0; start < columns; start += DEPTH) {
  for (uint i = worker; i < TILE * DEPTH; i += 128) {
    const uint row = i / DEPTH;
    const uint column = start + i % DEPTH;
    const uint place = row * STRIDE + i % DEPTH;
    const uint from = (number * rows + upper + row) * columns + column;
    tiles[place] = upper + row < rows && column < columns ? float(x[from]) : 0.0f;
    if (!diagonal) {
      const uint from_other = (number * rows + left + row) * columns + column;
      tiles[other + place] = left + row < rows && column < columns ? float(x[from_other]) : 0.0f;
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint depth = 0; depth < DEPTH; depth += 8) {
    simdgroup_float8x8 factor[SIDE];
    simdgroup_float8x8 other_factor[SIDE];
#pragma unroll
    for (uint i = 0; i < SIDE; i++) {
      simdgroup_load(factor[i], tiles + (quarter_row + 8 * i) * STRIDE + depth, STRIDE);
      simdgroup_load(
          other_factor[i], tiles + other + (quarter_column + 8 * i) * STRIDE + depth, STRIDE, ulong2(0, 0), true);
    }
#pragma unroll
    for (uint i = 0; i < SIDE; i++) {
#pragma unroll
      for (uint j = 0; j < SIDE; j++) {
        simdgroup_multiply_accumulate(sums[i][j], factor[i], other_factor[j], sums[i][j]);
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// The sums take the place of the factors.
#pragma unroll
for (uint i = 0; i < SIDE; i++) {
#pragma unroll
  for (uint j = 0; j < SIDE; j++) {
    simdgroup_store(sums[i][j], tiles + (quarter_row + 8 * i) * SUM_STRIDE + quarter_column + 8 * j, SUM_STRIDE);
  }
}
threadgroup_barrier(mem_flags::mem_threadgroup);

for (uint i = worker; i < TILE * TILE; i += 128) {
  const uint place = i / TILE * SUM_STRIDE + i % TILE;
  const uint row = upper + i / TILE;
  const uint column = left + i % TILE;
  if (row < rows && column <= row) {
    const uint to = (number * rows + row) * rows + column;
    float value = factors[0] * tiles[place];
    if (ADDS) {
      value += factors[1] * float(addend[to]);
    }
    tiles[place] = value;
    product[to] = T(value);
  }
}
threadgroup_barrier(mem_flags::mem_threadgroup);
for (uint i = worker; i < TILE * TILE; i += 128) {
  const uint row = left + i / TILE;
  const uint column = upper + i % TILE;
  if (row < column && column < rows) {
    product[(number * rows + row) * rows + column] = T(tiles[i % TILE * SUM_STRIDE + i / TILE]);
  }
}
