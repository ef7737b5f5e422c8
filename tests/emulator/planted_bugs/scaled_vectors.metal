// y = factor * x + shift by vectors of four; x is [count] and the count a multiple of 4.
const uint count = uint(x_shape[0]) / 4;
const uint index = thread_position_in_grid.x;
const device float4* from = (const device float4*)x;
device float4* to = (device float4*)y;
const float multiplier = factor[0];
if (index < count) {
  to[index] = multiplier * from[index] + float4(shift[0], shift[1], shift[2], shift[3]);
}
