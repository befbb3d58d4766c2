#pragma once

#include <Random123/philox.h>

#include <cstdint>

// Inlined everywhere: on the host the functions must melt into loops that are compiled for several
// instruction sets, and a call would stop the vectoriser.
#if defined(__CUDACC__)
#define STANLEY_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define STANLEY_HOST_DEVICE inline __attribute__((always_inline))
#endif

/// Random numbers without a state: each is a function of (seed, stream, attempt, id, step,
/// element), by the counter-based generator Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel
/// random numbers: as easy as 1, 2, 3", SC 2011; the Random123 library). No number depends on
/// ranks, batch layout, vector width, threads or device.
namespace stanley::random {

/// What a number is drawn for. The values are part of what a checkpoint promises (a resumed run
/// draws the same numbers): they are never changed or used again, new streams get new values.
enum class Stream : std::uint32_t {
  chain_noise = 0,         ///< id: chain, step: iteration·K + k, element: of the state
  restart = 1,             ///< whether a chain starts anew; id: chain
  start_state = 2,         ///< the new state of a chain; id: chain
  start_choice = 3,        ///< which data sample or bank chain a chain starts from; id: chain
  acceptance = 4,          ///< Metropolis decisions; id: chain
  data_noise = 5,          ///< id: position in the global batch
  data_flip = 6,           ///< id: position in the global batch
  data_order = 7,          ///< permutation of the data set, per epoch
  bank_order = 8,          ///< permutation of a shard's chains, per pass; id: shard
  initial_parameters = 9,  ///< id: index of the parameter
  synthetic_data = 10,     ///< id: sample
  noise_probe = 11,        ///< plain noise whose energy is recorded; id: probe
  sampling = 12,           ///< chain noise of chains that run outside of training; id: chain
  start_law = 13,          ///< of which law a chain starts, where there are several; id: chain
  first_age = 14,          ///< how old a chain of iteration 0 gets; id: chain
  denoised_data = 15,      ///< noise of data that a denoising step is fitted to; id: sample
  denoising = 16,          ///< noise of the objective's denoising; id: position in the global batch
};

/// Which family of numbers. The stream and the attempt share one word of the Philox key.
struct Key {
  std::uint32_t seed{0};
  Stream stream{Stream::chain_noise};
  std::uint32_t attempt{0};  ///< rolled back so many times; below 2^16
};

/// One block: four independent uniform 32-bit words.
struct Words {
  std::uint32_t value[4];
};

/// Elements that one block serves: element e uses word e % 4 of block e / 4.
inline constexpr int block_elements = 4;

/// Philox4x32-10 with the key {seed, stream·2^16 + attempt} and the counter {block, id, low and
/// high half of step}.
STANLEY_HOST_DEVICE Words block(Key key, std::uint32_t id, std::uint64_t step,
                                std::uint32_t block) {
  const r123array4x32 counter = {
      {block, id, static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)}};
  const r123array2x32 philox_key = {
      {key.seed, (static_cast<std::uint32_t>(key.stream) << 16) + key.attempt}};
  const r123array4x32 out = philox4x32_R(10, counter, philox_key);
  return {{out.v[0], out.v[1], out.v[2], out.v[3]}};
}

/// (⌊word / 2^9⌋ + ½)·2^−23: 2^23 equally spaced values, exact, symmetric about ½, never 0 or 1.
STANLEY_HOST_DEVICE float to_uniform(std::uint32_t word) {
  return (static_cast<float>(static_cast<std::int32_t>(word >> 9)) + 0.5F) * 0x1p-23F;
}

/// As to_uniform with the 52 highest bits of (high, low): spacing 2^−52.
STANLEY_HOST_DEVICE double to_uniform_double(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(high) << 32 | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}

/// Uniform in the open interval (0, 1), of one element.
STANLEY_HOST_DEVICE float uniform(Key key, std::uint32_t id, std::uint64_t step,
                                  std::uint32_t element = 0) {
  const Words words = block(key, id, step, element / block_elements);
  return to_uniform(words.value[element % block_elements]);
}

/// Uniform in the open interval (0, 1) with 52 bits, for decisions and indices. It uses the first
/// two words of the block numbered `element`, so don't mix it with uniform() in one stream.
STANLEY_HOST_DEVICE double uniform_double(Key key, std::uint32_t id, std::uint64_t step,
                                          std::uint32_t element = 0) {
  const Words words = block(key, id, step, element);
  return to_uniform_double(words.value[0], words.value[1]);
}

}  // namespace stanley::random
