// One launch for all matrices that Muon owns: the momentum m <- mu m + (1 - mu) g, and the look-ahead mu m + (1 - mu) g
// packed into banks of equal shape, short side first, with what the Frobenius norms are made of: each tile's largest
// magnitude, and the sum of its squares in units of that, which cannot overflow.
// A threadgroup owns a tile of at most 32 x 32 entries. Its row of the layout: the parameter; offset and row length
// there; the tile's rows and columns; offset and row length in the banks; whether the matrix lies transposed there.

threadgroup float staged[32 * 33];
threadgroup float of_groups[8];

constexpr uint TILE = 32;
constexpr uint STRIDE = TILE + 1;
// Keeps the ratios of a tile of zeros zero.
constexpr float SMALLEST = 1e-20f;

const uint worker = thread_position_in_threadgroup.x;
const uint group = simdgroup_index_in_threadgroup;
const uint tile = threadgroup_position_in_grid.x;
const int parameter = layout[8 * tile];
const uint from = uint(layout[8 * tile + 1]);
const uint from_stride = uint(layout[8 * tile + 2]);
const uint rows = uint(layout[8 * tile + 3]);
const uint columns = uint(layout[8 * tile + 4]);
const uint to = uint(layout[8 * tile + 5]);
const uint to_stride = uint(layout[8 * tile + 6]);
const bool transposed = layout[8 * tile + 7] != 0;

const device float* gradient = gradient0;
const device float* momentum = momentum0;
device float* average = average0;
if (parameter == 1) {
  gradient = gradient1;
  momentum = momentum1;
  average = average1;
} else if (parameter == 2) {
  gradient = gradient2;
  momentum = momentum2;
  average = average2;
} else if (parameter == 3) {
  gradient = gradient3;
  momentum = momentum3;
  average = average3;
}

const float kept = mu[0];
float largest = 0.0f;
for (uint i = worker; i < TILE * TILE; i += 128) {
  const uint row = i / TILE;
  const uint column = i % TILE;
  if (row < rows && column < columns) {
    const uint place = from + row * from_stride + column;
    const float new_momentum = kept * momentum[place] + (1.0f - kept) * gradient[place];
    // Rounded to the banks' type here, so that the norm is that of what is packed.
    const float ahead = float(T(kept * new_momentum + (1.0f - kept) * gradient[place]));
    average[place] = new_momentum;
    staged[row * STRIDE + column] = ahead;
    largest = max(largest, fabs(ahead));
  }
}
largest = simd_max(largest);
if (thread_index_in_simdgroup == 0) {
  of_groups[group] = largest;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
largest = max(max(of_groups[0], of_groups[1]), max(of_groups[2], of_groups[3]));
largest = max(largest, SMALLEST);

const uint packed_rows = transposed ? columns : rows;
const uint packed_columns = transposed ? rows : columns;
float squares = 0.0f;
for (uint i = worker; i < TILE * TILE; i += 128) {
  const uint row = i / TILE;
  const uint column = i % TILE;
  if (row < packed_rows && column < packed_columns) {
    const float ahead = staged[transposed ? column * STRIDE + row : row * STRIDE + column];
    const float ratio = ahead / largest;
    packed[to + row * to_stride + column] = T(ahead);
    squares += ratio * ratio;
  }
}
squares = simd_sum(squares);
if (thread_index_in_simdgroup == 0) {
  of_groups[4 + group] = squares;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
if (worker == 0) {
  partials[2 * tile] = largest;
  partials[2 * tile + 1] = (of_groups[4] + of_groups[5]) + (of_groups[6] + of_groups[7]);
}

// What stands in for the averages of absent parameters has one entry.
if (tile == 0 && worker == 0) {
  if (PARAMETERS < 2) {
    average1[0] = 0.0f;
  }
  if (PARAMETERS < 3) {
    average2[0] = 0.0f;
  }
  if (PARAMETERS < 4) {
    average3[0] = 0.0f;
  }
}
