#include <algorithm>
#include <cstdint>

#include "kernels/chain_rules.hpp"
#include "kernels/chain_update.hpp"
#include "kernels/launch.cuh"
#include "random/normal.hpp"
#include "random/random.hpp"

namespace stanley {
namespace {

using random::block_elements;

constexpr unsigned threads_per_block = 256;
constexpr std::int64_t most_rows = 65535;  // of a grid; the kernels stride over what is beyond

std::int64_t __host__ __device__ blocks_of(std::int64_t dimension) {
  return (dimension + block_elements - 1) / block_elements;
}

/// Calls work(row, block) for each random block of each chain, one thread each: a chain's blocks
/// lie along x, chains along y.
template <class Work>
__device__ void for_each_block(std::int64_t n, std::int64_t dimension, const Work& work) {
  const std::int64_t block = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (block >= blocks_of(dimension)) return;
  for (std::int64_t row = blockIdx.y; row < n; row += gridDim.y) {
    work(row, static_cast<std::uint32_t>(block));
  }
}

/// One random block's elements of an array: four consecutive ones, loaded and stored at once where
/// rows are made of whole blocks; else those that the row still has.
struct Quad {
  float value[block_elements];
};

__device__ Quad load(const float* row, std::uint32_t block, std::int64_t dimension) {
  const std::int64_t first = std::int64_t{block} * block_elements;
  if (dimension % block_elements == 0) {
    const float4 all = *reinterpret_cast<const float4*>(row + first);
    return {{all.x, all.y, all.z, all.w}};
  }
  Quad quad{};
#pragma unroll
  for (int i = 0; i < block_elements; ++i) {
    if (first + i < dimension) quad.value[i] = row[first + i];
  }
  return quad;
}

__device__ void store(const Quad& quad, float* row, std::uint32_t block, std::int64_t dimension) {
  const std::int64_t first = std::int64_t{block} * block_elements;
  if (dimension % block_elements == 0) {
    *reinterpret_cast<float4*>(row + first) =
        make_float4(quad.value[0], quad.value[1], quad.value[2], quad.value[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < block_elements; ++i) {
    if (first + i < dimension) row[first + i] = quad.value[i];
  }
}

/// The chains of a pass, in the device's memory; null: what its rule does not read.
struct Chains {
  random::Key key;
  const std::int64_t* ids;
  std::int64_t n, dimension;
  const float *gradient, *gain;
  float* out;
};

/// The rule of one row: `whole` with what that row has of its own.
template <bool has_gradient, detail::Gain kind, bool has_noise>
__device__ detail::Move<has_gradient, kind, has_noise> of_row(
    detail::Move<has_gradient, kind, has_noise> whole, const Update& update, const float* threshold,
    std::int64_t row) {
  whole.half_step = detail::of_row(update.half_steps, row, update.half_step);
  whole.sigma = detail::of_row(update.sigmas, row, update.sigma);
  if constexpr (kind == detail::Gain::threshold) whole.threshold = threshold[row];
  return whole;
}

template <class Rule>
__device__ Rule of_row(const Rule& whole, const Update&, const float*, std::int64_t) {
  return whole;
}

/// Adds nothing up.
struct NoSums {
  template <class Rule>
  __device__ void add(const Rule&, float, float, float) {}
};

/// One thread's share of a chain's sums for the thermometer.
struct ThreadSums {
  detail::Thermometer thermometer;
  float value[thermometer_sums] = {};

  template <class Rule>
  __device__ void add(const Rule& rule, float z, float gradient, float gain) {
    thermometer.add(z, gradient, rule.gamma_of(gradient, gain), value, 1);
  }
};

/// Puts what the rule makes of one random block's elements to chains.out [n, dimension].
template <class Rule, class Sums>
__device__ void pass_block(const Rule& whole, const Update& update, const Chains& chains,
                           const float* threshold, std::int64_t row, std::uint32_t block,
                           Sums& sums) {
  using detail::Draws;
  const Rule rule = of_row(whole, update, threshold, row);
  const auto id = static_cast<std::uint32_t>(chains.ids[row]);
  const std::int64_t begin = row * chains.dimension;
  const std::int64_t left = chains.dimension - std::int64_t{block} * block_elements;
  Quad state{}, gradient{}, gain{}, drawn{};
  if constexpr (Rule::draws == Draws::normal) {
    const random::Normals xi = random::normals(chains.key, id, detail::step_of(update), block);
#pragma unroll
    for (int i = 0; i < block_elements; ++i) drawn.value[i] = xi.value[i];
  } else if constexpr (Rule::draws == Draws::uniform) {
    const random::Words words = random::block(chains.key, id, detail::step_of(update), block);
#pragma unroll
    for (int i = 0; i < block_elements; ++i) drawn.value[i] = random::to_uniform(words.value[i]);
  }
  if constexpr (Rule::reads.state) state = load(chains.out + begin, block, chains.dimension);
  if constexpr (Rule::reads.gradient) {
    gradient = load(chains.gradient + begin, block, chains.dimension);
  }
  if constexpr (Rule::reads.gain) gain = load(chains.gain + begin, block, chains.dimension);
#pragma unroll
  for (int i = 0; i < block_elements; ++i) {
    if (i < left) sums.add(rule, state.value[i], gradient.value[i], gain.value[i]);
    state.value[i] = rule(state.value[i], gradient.value[i], gain.value[i], drawn.value[i]);
  }
  store(state, chains.out + begin, block, chains.dimension);
}

template <class Rule>
__global__ void pass_kernel(Rule whole, Update update, Chains chains, const float* threshold) {
  for_each_block(chains.n, chains.dimension, [=](std::int64_t row, std::uint32_t block) {
    NoSums none;
    pass_block(whole, update, chains, threshold, row, block, none);
  });
}

/// Adds the sums of all threads of this block of threads, in a fixed order. All of them call it.
__device__ void add_together(const ThreadSums& own, double* to) {
  constexpr int warp = 32, warps = threads_per_block / warp;
  __shared__ double of_warps[warps][thermometer_sums];
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int sum = 0; sum < thermometer_sums; ++sum) {
    auto value = static_cast<double>(own.value[sum]);
    for (int distance = warp / 2; distance > 0; distance /= 2) {
      value += __shfl_down_sync(0xFFFFFFFFU, value, distance);
    }
    if (thread % warp == 0) of_warps[thread / warp][sum] = value;
  }
  __syncthreads();
  if (thread < thermometer_sums) {
    double total = 0;
    for (int i = 0; i < warps; ++i) total += of_warps[i][thread];
    to[thread] += total;
  }
  __syncthreads();  // before the next row's sums come to of_warps
}

/// The same, and adds to `sums` [n, blocks of threads of a row, thermometer_sums].
template <class Rule>
__global__ void summing_pass_kernel(Rule whole, Update update, Chains chains,
                                    const float* threshold, detail::Thermometer thermometer,
                                    double* sums) {
  const std::int64_t block = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const bool inside = block < blocks_of(chains.dimension);
  for (std::int64_t row = blockIdx.y; row < chains.n; row += gridDim.y) {
    ThreadSums own{thermometer};
    if (inside) {
      pass_block(whole, update, chains, threshold, row, static_cast<std::uint32_t>(block), own);
    }
    add_together(own, sums + (row * gridDim.x + blockIdx.x) * thermometer_sums);
  }
}

/// Starts a pass over the chains.
template <class Rule>
void launch(const char* what, const Rule& rule, const Update& update, const Chains& chains,
            const float* threshold, double* sums, cudaStream_t stream) {
  if (chains.n == 0) return;  // a launch of no blocks is an error
  const dim3 grid(static_cast<unsigned>(sum_parts_cuda(chains.dimension)),
                  static_cast<unsigned>(std::min(chains.n, most_rows)));
  if constexpr (Rule::reads.gradient) {
    if (sums != nullptr) {
      summing_pass_kernel<<<grid, threads_per_block, 0, stream>>>(
          rule, update, chains, threshold, detail::thermometer_of(update), sums);
      return check_launch(what);
    }
  }
  pass_kernel<<<grid, threads_per_block, 0, stream>>>(rule, update, chains, threshold);
  check_launch(what);
}

}  // namespace

std::int64_t sum_parts_cuda(std::int64_t dimension) {
  return (blocks_of(dimension) + threads_per_block - 1) / threads_per_block;
}

void update_cuda(const Update& update, const std::int64_t* ids, std::int64_t n,
                 std::int64_t dimension, const float* gradient, const float* gain,
                 const float* threshold, float* state, double* sums, CUstream_st* stream) {
  detail::check_gains(gradient, gain, threshold, sums);
  const detail::MoveSources given{gradient != nullptr, gain != nullptr, threshold != nullptr,
                                  update.sigmas != nullptr || update.sigma != 0.0F};
  detail::with_move(given, [&](auto rule) {
    rule.low = update.low;
    rule.high = update.high;
    launch("the update of the chains", rule, update,
           {update.key, ids, n, dimension, gradient, gain, state}, threshold, sums, stream);
  });
}

void fill_normal_cuda(random::Key key, const std::int64_t* ids, std::int64_t n, std::uint64_t step,
                      std::int64_t dimension, float scale, float* out, CUstream_st* stream) {
  launch("the normal random numbers", detail::FillNormal{scale}, {.step = step},
         {key, ids, n, dimension, nullptr, nullptr, out}, nullptr, nullptr, stream);
}

void fill_uniform_cuda(random::Key key, const std::int64_t* ids, std::int64_t n, std::uint64_t step,
                       std::int64_t dimension, float low, float high, float* out,
                       CUstream_st* stream) {
  launch("the uniform random numbers", detail::FillUniform{low, high}, {.step = step},
         {key, ids, n, dimension, nullptr, nullptr, out}, nullptr, nullptr, stream);
}

}  // namespace stanley
