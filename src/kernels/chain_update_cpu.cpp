#include <cstdint>
#include <span>

#include "kernels/chain_rules.hpp"
#include "kernels/chain_update.hpp"
#include "kernels/loop_threads.hpp"

namespace stanley {
namespace {

/// Calls work(row, id) for each id, on several threads where that pays.
template <class Work>
void for_each_chain(std::span<const std::int64_t> ids, std::int64_t dimension, const Work& work) {
  const auto n = static_cast<std::int64_t>(ids.size());
  const bool worth_threads = n * dimension > 4096;
#pragma omp parallel for num_threads(loop_threads()) schedule(static) if (worth_threads)
  for (std::int64_t row = 0; row < n; ++row) {
    work(row, static_cast<std::uint32_t>(ids[static_cast<std::size_t>(row)]));
  }
}

}  // namespace

void update_cpu(const Update& update, std::span<const std::int64_t> ids, std::int64_t dimension,
                const float* gradient, const float* gain, const float* threshold, float* state,
                double* sums) {
  detail::check_gains(gradient, gain, threshold, sums);
  for_each_chain(ids, dimension, [&](std::int64_t row, std::uint32_t id) {
    const std::int64_t begin = row * dimension;
    update_chain(update, {.id = id,
                          .dimension = dimension,
                          .gradient = gradient != nullptr ? gradient + begin : nullptr,
                          .gain = gain != nullptr ? gain + begin : nullptr,
                          .threshold = detail::of_row(threshold, row, 0.0F),
                          .half_step = detail::of_row(update.half_steps, row, update.half_step),
                          .sigma = detail::of_row(update.sigmas, row, update.sigma),
                          .state = state + begin,
                          .sums = sums != nullptr ? sums + row * thermometer_sums : nullptr});
  });
}

void fill_normal_cpu(random::Key key, std::span<const std::int64_t> ids, std::uint64_t step,
                     std::int64_t dimension, float scale, float* out) {
  for_each_chain(ids, dimension, [=](std::int64_t row, std::uint32_t id) {
    fill_normal_chain(key, id, step, dimension, scale, out + row * dimension);
  });
}

void fill_uniform_cpu(random::Key key, std::span<const std::int64_t> ids, std::uint64_t step,
                      std::int64_t dimension, float low, float high, float* out) {
  for_each_chain(ids, dimension, [=](std::int64_t row, std::uint32_t id) {
    fill_uniform_chain(key, id, step, dimension, low, high, out + row * dimension);
  });
}

}  // namespace stanley
