// The entry points of NVIDIA's driver that `driver.py` calls, on the CPU: device memory is the host's, an image is the
// path of a shared library made from the kernel's text with `on_cpu.h`. Sizes and pointers that are wrong are refused.

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <string>

namespace {

enum Result { success = 0, invalid_value = 1, not_initialised = 3, invalid_image = 200, not_found = 500, failed = 719 };

using Address = unsigned long long;
using Launch = bool (*)(void**, const unsigned*);

std::map<Address, size_t> allocations;
bool initialised = false, current = false;

// Whether [start, start + size) lies within one allocation.
bool inside(Address start, size_t size) {
  auto after = allocations.upper_bound(start);
  if (after == allocations.begin()) return false;
  --after;
  return start + size <= after->first + after->second;
}

}  // namespace

extern "C" {

int cuInit(unsigned flags) {
  initialised = true;
  return flags ? invalid_value : success;
}
int cuDriverGetVersion(int* version) {
  *version = 13000;
  return success;
}
int cuDeviceGetCount(int* count) {
  *count = 1;
  return initialised ? success : not_initialised;
}
int cuDeviceGet(int* device, int ordinal) {
  *device = 7;
  return ordinal == 0 ? success : invalid_value;
}
int cuDeviceGetName(char* name, int length, int device) {
  if (device != 7 || length < 20) return invalid_value;
  strcpy(name, "a card of this test");
  return success;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  if (device != 7) return invalid_value;
  *value = attribute == 75 ? 9 : 0;
  return attribute == 75 || attribute == 76 ? success : invalid_value;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = &current;
  return device == 7 ? success : invalid_value;
}
int cuCtxSetCurrent(void* context) {
  current = context == &current;
  return current ? success : invalid_value;
}
int cuCtxSynchronize() { return current ? success : invalid_value; }
int cuModuleLoadData(void** module, const void* image) {
  *module = dlopen(static_cast<const char*>(image), RTLD_NOW | RTLD_LOCAL);
  return *module ? success : invalid_image;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = dlsym(module, (std::string(name) + "_on_cpu").c_str());
  return *function ? success : not_found;
}
int cuModuleUnload(void* module) { return dlclose(module) ? invalid_value : success; }
int cuMemAlloc_v2(Address* address, size_t size) {
  if (!current || !size) return invalid_value;
  void* memory = aligned_alloc(256, (size + 255) / 256 * 256);
  *address = reinterpret_cast<Address>(memory);
  allocations[*address] = size;
  return success;
}
int cuMemFree_v2(Address address) {
  if (!allocations.erase(address)) return invalid_value;
  free(reinterpret_cast<void*>(address));
  return success;
}
int cuMemcpyHtoD_v2(Address to, const void* from, size_t size) {
  if (!inside(to, size)) return invalid_value;
  memcpy(reinterpret_cast<void*>(to), from, size);
  return success;
}
int cuMemcpyDtoH_v2(void* to, Address from, size_t size) {
  if (!inside(from, size)) return invalid_value;
  memcpy(to, reinterpret_cast<void*>(from), size);
  return success;
}
int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y, unsigned z,
                   unsigned shared_bytes, void* stream, void** arguments, void** extra) {
  if (shared_bytes || stream || extra || !x || !y || !z) return invalid_value;
  const unsigned sizes[] = {grid_x, grid_y, grid_z, x, y, z};
  return reinterpret_cast<Launch>(function)(arguments, sizes) ? success : failed;
}
int cuGetErrorName(int result, const char** name) {
  *name = result == failed ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_OF_THE_TEST";
  return success;
}
// Of the test alone: what has not been given back.
size_t allocations_left() { return allocations.size(); }

}  // extern "C"
