#include "measure/scaling_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace stanley {
namespace {

/// Between two measured numbers of chains along a line; beyond them in proportion to the nearest.
/// Below the fewest, the time stays: a kernel can't be shorter than its start.
WorkPoint work_of(const std::vector<WorkPoint>& work, std::int64_t chains) {
  const auto after = std::find_if(work.begin(), work.end(),
                                  [&](const WorkPoint& p) { return p.chains >= chains; });
  if (after == work.begin()) return work.front();
  if (after == work.end()) {
    const WorkPoint& last = work.back();
    const double more = static_cast<double>(chains) / static_cast<double>(last.chains);
    return {chains, more * last.chain_seconds, more * last.weight_seconds};
  }
  const WorkPoint& before = *(after - 1);
  const double part = static_cast<double>(chains - before.chains) /
                      static_cast<double>(after->chains - before.chains);
  return {chains, std::lerp(before.chain_seconds, after->chain_seconds, part),
          std::lerp(before.weight_seconds, after->weight_seconds, part)};
}

/// All that the ranks say to each other in one iteration of a training.
CollectiveCost communication(const ScalingInputs& in, std::int64_t ranks, std::int64_t parts) {
  CollectiveCost cost = reduction_cost(in, ranks, parts);
  NetworkModel small = in.network;
  small.library = NetworkModel::Library::open_mpi;
  const auto spread = 16 * static_cast<double>(in.dimension);
  // The record's sums, its largest numbers, the chains' spread, and the flags at the end.
  for (const double bytes : {168.0, 16.0, spread, 40.0}) {
    cost += all_reduce_cost(small, ranks, bytes);
  }
  return cost;
}

IterationPrediction predict(const ScalingInputs& in, std::int64_t ranks, std::int64_t chains,
                            std::int64_t parts) {
  const WorkPoint work = work_of(in.work, chains);
  const CollectiveCost cost = communication(in, ranks, parts);
  IterationPrediction result;
  result.ranks = ranks;
  result.chains = chains;
  result.chain_seconds = work.chain_seconds;
  result.weight_seconds = work.weight_seconds;
  result.latency_seconds = cost.latency;
  result.bandwidth_seconds = cost.bandwidth;
  // About the expected largest of so many normal numbers.
  result.waiting_seconds = in.jitter * (work.chain_seconds + work.weight_seconds) *
                           std::sqrt(2 * std::log(static_cast<double>(ranks)));
  if (in.checkpoint_every > 0) {
    const double mine =
        in.checkpoint_fixed_bytes + in.checkpoint_bytes_per_chain * static_cast<double>(chains);
    const double whole = in.checkpoint_fixed_bytes +
                         in.checkpoint_bytes_per_chain * static_cast<double>(chains * ranks);
    // Written, read back and compared, beside the iterations up to the next one.
    const double writing = std::max(in.checkpoint_seconds, 2 * whole / in.file_bandwidth);
    const double late = std::max(0.0, writing - in.checkpoint_every * result.seconds());
    result.file_seconds = (mine * in.copy_seconds_per_byte + late) / in.checkpoint_every;
  }
  return result;
}

}  // namespace

CollectiveCost reduction_cost(const ScalingInputs& in, std::int64_t ranks, std::int64_t parts) {
  return in.ordered ? ordered_sum_cost(in.network, ranks, parts, in.message_bytes)
                    : all_reduce_cost(in.network, ranks, in.message_bytes);
}

std::string IterationPrediction::bound() const {
  const std::array<std::pair<double, const char*>, 6> terms{
      {{chain_seconds, "chains"},
       {weight_seconds, "weight gradient"},
       {latency_seconds, "network latency"},
       {bandwidth_seconds, "network bandwidth"},
       {waiting_seconds, "waiting"},
       {file_seconds, "files"}}};
  return std::max_element(terms.begin(), terms.end())->second;
}

IterationPrediction predict_weak(const ScalingInputs& in, std::int64_t ranks) {
  IterationPrediction result = predict(in, ranks, in.chains_per_rank, in.parts_per_rank * ranks);
  result.efficiency =
      predict(in, 1, in.chains_per_rank, in.parts_per_rank).seconds() / result.seconds();
  return result;
}

IterationPrediction predict_strong(const ScalingInputs& in, std::int64_t ranks) {
  const std::int64_t parts = in.finest_shards;
  const std::int64_t per_part = in.active_chains / parts;
  // The rank with most sets the pace.
  const std::int64_t chains = (parts + ranks - 1) / ranks * per_part;
  IterationPrediction result = predict(in, ranks, chains, parts);
  result.efficiency = predict(in, 1, in.active_chains, parts).seconds() /
                      (static_cast<double>(ranks) * result.seconds());
  return result;
}

StrongLimit find_strong_limit(const ScalingInputs& in) {
  StrongLimit limit;
  double least = predict_strong(in, 1).seconds();
  for (std::int64_t ranks = 1; ranks <= in.finest_shards; ++ranks) {
    if (in.finest_shards % ranks != 0) continue;
    const IterationPrediction prediction = predict_strong(in, ranks);
    if (prediction.efficiency >= 0.5) limit.efficient = ranks;
    if (prediction.seconds() >= least) continue;
    least = prediction.seconds();
    limit.fastest = ranks;
  }
  return limit;
}

}  // namespace stanley
