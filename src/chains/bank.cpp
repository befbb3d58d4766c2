#include "chains/bank.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "random/permutation.hpp"

namespace stanley {
namespace {

/// States that are made at a time.
constexpr std::int64_t start_block_bytes = std::int64_t{8} << 20;

at::Tensor to_tensor(const std::vector<std::int64_t>& values, at::Device device) {
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<std::int64_t>());
  return tensor.to(device);
}

}  // namespace

void start_in_blocks(const ChainBatch& batch, std::int64_t iteration, const StartState& start) {
  const std::int64_t count = batch.state.size(0);
  if (count == 0) return;
  const std::int64_t bytes = batch.state.numel() / count * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t most = std::max<std::int64_t>(start_block_bytes / bytes, 1);
  for (std::int64_t first = 0; first < count; first += most) {
    const std::int64_t size = std::min(most, count - first);
    ChainBatch block{batch.state.narrow(0, first, size), batch.ids.narrow(0, first, size)};
    start(block, iteration);
  }
}

Bank::Bank(const ChainsConfig& config, const std::vector<std::int64_t>& state_shape,
           const Shards& shards, std::uint32_t seed, std::uint32_t attempt, at::Device device)
    : per_shard_(config.total / config.shards),
      active_per_shard_(config.active / config.shards),
      passes_(config.total / config.active),
      shards_(shards),
      seed_(seed),
      attempt_(attempt) {
  std::vector<std::int64_t> shape{local_count()};
  shape.insert(shape.end(), state_shape.begin(), state_shape.end());
  state_ = at::zeros(shape, at::TensorOptions(at::kFloat).device(device));
  ages_.assign(static_cast<std::size_t>(local_count()), 0);
  restarts_ = ages_;
}

ChainBatch Bank::batch_of(const std::vector<std::int64_t>& rows) const {
  std::vector<std::int64_t> ids = rows;
  for (std::int64_t& id : ids) id += first_id();
  return {state_.index_select(0, to_tensor(rows, state_.device())),
          to_tensor(ids, state_.device())};
}

void Bank::start_all(const StartState& start) {
  start_in_blocks({state_, at::arange(first_id(), first_id() + local_count(),
                                      at::TensorOptions(at::kLong).device(state_.device()))},
                  0, start);
  std::fill(ages_.begin(), ages_.end(), 0);
  std::fill(restarts_.begin(), restarts_.end(), 0);
}

ChainBatch Bank::visit(std::int64_t iteration, double restart_probability,
                       const StartState& start) {
  const random::Key order{seed_, random::Stream::bank_order, attempt_};
  const random::Key restart{seed_, random::Stream::restart, attempt_};
  const std::int64_t pass = iteration / passes_;
  const std::int64_t first = iteration % passes_ * active_per_shard_;
  visited_.clear();
  std::vector<std::int64_t> anew, anew_in_batch;
  for (std::int64_t shard = 0; shard < shards_.count; ++shard) {
    for (std::int64_t i = 0; i < active_per_shard_; ++i) {
      const auto within = static_cast<std::int64_t>(random::permute(
          static_cast<std::uint64_t>(first + i), static_cast<std::uint64_t>(per_shard_), order,
          static_cast<std::uint64_t>(pass), static_cast<std::uint32_t>(shards_.first + shard)));
      const std::int64_t row = shard * per_shard_ + within;
      const auto id = static_cast<std::uint32_t>(first_id() + row);
      if (random::uniform_double(restart, id, static_cast<std::uint64_t>(iteration)) <
          restart_probability) {
        anew.push_back(row);
        anew_in_batch.push_back(static_cast<std::int64_t>(visited_.size()));
      }
      visited_.push_back(row);
    }
  }
  ChainBatch batch = batch_of(visited_);
  restarts_in_visit_ = static_cast<std::int64_t>(anew.size());
  if (!anew.empty()) {
    ChainBatch fresh = batch_of(anew);
    start(fresh, iteration);
    batch.state.index_copy_(0, to_tensor(anew_in_batch, state_.device()), fresh.state);
    for (const std::int64_t row : anew) {
      ages_[static_cast<std::size_t>(row)] = 0;
      ++restarts_[static_cast<std::size_t>(row)];
    }
  }
  return batch;
}

void Bank::put_back(const ChainBatch& batch, std::int64_t steps) {
  state_.index_copy_(0, to_tensor(visited_, state_.device()), batch.state);
  for (const std::int64_t row : visited_) ages_[static_cast<std::size_t>(row)] += steps;
}

std::vector<std::int64_t> Bank::visited_ages() const {
  std::vector<std::int64_t> ages;
  for (const std::int64_t row : visited_) ages.push_back(ages_[static_cast<std::size_t>(row)]);
  return ages;
}

}  // namespace stanley
