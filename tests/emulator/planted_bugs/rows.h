constant constexpr float smallest = 1e-30f;

// Sums of exponentials are 1 or more; this guards the rows beyond the end.
inline float quotient(float part, float sum) {
  return part / max(sum, smallest);
}
