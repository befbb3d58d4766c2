#include "parallel/device.hpp"

#ifdef STANLEY_CUDA

#include <fmt/format.h>

#include "parallel/cuda_support.hpp"

namespace stanley {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// The oldest Linux driver that runs binaries of this CUDA's major version.
constexpr const char* oldest_driver =
    CUDART_VERSION >= 13000 ? "CUDA 13.0 (driver 580)" : "CUDA 12.0 (driver 525)";

std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (const char byte : uuid.bytes)
    text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

}  // namespace

CudaSight look_for_cuda(DeviceKind requested) {
  CudaSight sight;
  if (requested == DeviceKind::cpu) return sight;
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    sight.problem = "no NVIDIA driver was found (libcuda.so.1)";
    return sight;
  }
  if (driver / 1000 < CUDART_VERSION / 1000) {
    sight.problem = "the NVIDIA driver is too old: it supports CUDA " + version_text(driver) +
                    ", and this binary needs at least " + oldest_driver;
    sight.broken = true;
    return sight;
  }
  int devices = 0;
  cudaError_t status = cudaGetDeviceCount(&devices);
  cudaDeviceProp properties{};
  for (int index = 0; status == cudaSuccess && index < devices; ++index) {
    status = cudaGetDeviceProperties(&properties, index);
    sight.uuids.push_back(uuid_text(properties.uuid));
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && devices == 0)) {
    // The driver's library alone, as on a login node.
    sight.problem = "no GPU is visible to this process (CUDA_VISIBLE_DEVICES, --gpus)";
  } else if (status != cudaSuccess) {
    sight.uuids.clear();
    sight.broken = true;
    sight.problem = std::string("CUDA could not start: ") + cudaGetErrorString(status);
  }
  return sight;
}

void use_cuda_device(Device& device) {
  check_cuda(cudaSetDevice(device.index), "cudaSetDevice");
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.index), "cudaGetDeviceProperties");
  device.name = properties.name;
  device.uuid = uuid_text(properties.uuid);
}

}  // namespace stanley

#else  // a build without CUDA

namespace stanley {

CudaSight look_for_cuda(DeviceKind) {
  CudaSight sight;
  sight.problem = "this binary was built without CUDA (build the `cuda` preset)";
  return sight;
}

void use_cuda_device(Device&) {
  throw Error(ExitCode::bug, "a CUDA device was chosen in a binary without CUDA");
}

}  // namespace stanley

#endif  // STANLEY_CUDA
