#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "kernels/kernel.hpp"
#include "random/random.hpp"

struct CUstream_st;  // cudaStream_t is a pointer to it

/// One chain step's arithmetic in one pass over memory, and the random fields that chains and data
/// start from. n chains (or samples) of d = `dimension` elements; arrays are row-major [n, d] in
/// the logical order of the elements (channel, height, width); `ids` names the n chains, each in
/// [0, 2^32). Any d > 0. The numbers depend on (key, id, step, element) only, never on n, on a
/// chain's place in the batch, or on threads; host and device agree bit for bit.
namespace stanley {

/// z ← box(z − half_step·γ∘gradient + sigma·√γ∘ξ) with ξ standard normal (design, "The algorithm").
struct Update {
  float half_step{0};  ///< α/2
  float sigma{0};      ///< σ; 0: no noise
  float low{-std::numeric_limits<float>::infinity()};
  float high{std::numeric_limits<float>::infinity()};
  random::Key key{};
  std::uint64_t step{0};
  /// Added to step where the update runs, so that a recorded GPU graph takes other steps each time;
  /// null: 0.
  const std::int64_t* first_step{nullptr};
  /// Of each chain [n], in the place of half_step and sigma; null: all have those.
  const float *half_steps{nullptr}, *sigmas{nullptr};
};

/// What an update adds up of a chain's elements for the thermometer (detail::Thermometer in
/// chain_rules.hpp has f), at the state z where the gradient was taken.
enum ThermometerSum {
  settled_virial,  ///< Σ γ·f·∂E
  settled_slope,   ///< Σ γ·f′
  law_virial,      ///< Σ f·∂E
  law_slope,       ///< Σ f′
  thermometer_sums
};

/// In place on `state` [n, d]. `gradient` [n, d], or null: no drift. The gain γ is at most one of
/// `gain` [n, d] (values ≥ 0) and `threshold` [n]: γ = th/max(th, |gradient|), and 1 where th = 0
/// (finite, ≥ 0, needs a gradient); with neither γ = 1. A state that would be infinite becomes NaN,
/// and NaN stays NaN: the box hides nothing. `sums` [n, thermometer_sums] are added to, and change
/// no bit of the state; null: none are. Throws Error(bug) if both gains are given, or a threshold
/// or sums without a gradient.
void update_cpu(const Update& update, std::span<const std::int64_t> ids, std::int64_t dimension,
                const float* gradient, const float* gain, const float* threshold, float* state,
                double* sums = nullptr);

/// out [n, d] ← scale·ξ, the ξ of update_cpu at the same key, ids and step.
void fill_normal_cpu(random::Key key, std::span<const std::int64_t> ids, std::uint64_t step,
                     std::int64_t dimension, float scale, float* out);

/// out [n, d] ← uniform in [low, high].
void fill_uniform_cpu(random::Key key, std::span<const std::int64_t> ids, std::uint64_t step,
                      std::int64_t dimension, float low, float high, float* out);

/// One chain's rows of the arrays.
struct ChainRows {
  std::uint32_t id;
  std::int64_t dimension;
  const float* gradient;
  const float* gain;
  float threshold, half_step, sigma;
  float* state;
  double* sums = nullptr;
};

// One chain of the three above, which the same bits come of in each instruction set.
namespace plain {
void update_chain(const Update& update, const ChainRows& chain);
void fill_normal_chain(random::Key key, std::uint32_t id, std::uint64_t step,
                       std::int64_t dimension, float scale, float* out);
void fill_uniform_chain(random::Key key, std::uint32_t id, std::uint64_t step,
                        std::int64_t dimension, float low, float high, float* out);
}  // namespace plain

STANLEY_KERNEL(update_chain)
STANLEY_KERNEL(fill_normal_chain)
STANLEY_KERNEL(fill_uniform_chain)

// The same on a CUDA device: every pointer, `ids` [n] too, is device memory; the work is queued on
// `stream` and not waited for. Throws Error(environment) if the launch fails. Only in a build with
// STANLEY_CUDA.

/// `sums` [n, sum_parts_cuda(dimension), thermometer_sums]: those of a chain are the sums over its
/// parts, those of the host but for rounding.
void update_cuda(const Update& update, const std::int64_t* ids, std::int64_t n,
                 std::int64_t dimension, const float* gradient, const float* gain,
                 const float* threshold, float* state, double* sums, CUstream_st* stream);
std::int64_t sum_parts_cuda(std::int64_t dimension);

void fill_normal_cuda(random::Key key, const std::int64_t* ids, std::int64_t n, std::uint64_t step,
                      std::int64_t dimension, float scale, float* out, CUstream_st* stream);

void fill_uniform_cuda(random::Key key, const std::int64_t* ids, std::int64_t n, std::uint64_t step,
                       std::int64_t dimension, float low, float high, float* out,
                       CUstream_st* stream);

}  // namespace stanley
