#include "chains/bank.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "chains/tensor_view.hpp"
#include "random/permutation.hpp"

namespace stanley {
namespace {

/// States that are made at a time.
constexpr std::int64_t start_block_bytes = std::int64_t{8} << 20;

}  // namespace

void start_in_blocks(const ChainBatch& batch, std::int64_t iteration, const StartState& start) {
  const std::int64_t count = batch.state.size(0);
  if (count == 0) return;
  const std::int64_t bytes = batch.state.numel() / count * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t most = std::max<std::int64_t>(start_block_bytes / bytes, 1);
  for (std::int64_t first = 0; first < count; first += most) {
    const std::int64_t size = std::min(most, count - first);
    ChainBatch block = batch.narrow(first, size);
    start(block, iteration);
  }
}

Bank::Bank(const ChainsConfig& config, const std::vector<std::int64_t>& state_shape,
           const Shards& shards, std::uint32_t seed, std::uint32_t attempt, at::Device device,
           std::vector<Memory> memory, bool conditional)
    : per_shard_(config.total / config.shards),
      active_per_shard_(config.active / config.shards),
      passes_(config.total / config.active),
      shards_(shards),
      seed_(seed),
      attempt_(attempt),
      maximum_age_(config.maximum_age),
      memory_(std::move(memory)) {
  chains_ = zero_chains(first_id(), local_count(), state_shape, device);
  if (conditional) chains_.condition = at::zeros_like(chains_.ids);
  chains_.memory = start_memory(memory_, chains_.state);
  ages_.assign(static_cast<std::size_t>(local_count()), 0);
  restarts_ = restarts_before_ = ages_;
}

at::Tensor Bank::on_device(const std::vector<std::int64_t>& values) const {
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<std::int64_t>());
  return tensor.to(chains_.ids.device());
}

/// What chains that start keep: nothing of before.
void Bank::forget(const ChainBatch& batch) const {
  for (std::size_t i = 0; i < memory_.size(); ++i) batch.memory[i].fill_(memory_[i].start);
}

void Bank::start_all(const StartState& start) {
  forget(chains_);
  start_in_blocks(chains_, 0, start);
  std::fill(ages_.begin(), ages_.end(), 0);
  std::fill(restarts_.begin(), restarts_.end(), 0);
}

void Bank::begin_stage(const at::Tensor& states, std::vector<std::int64_t> restarts,
                       std::int64_t iteration) {
  forget(chains_);
  chains_.state.copy_(states);
  std::fill(ages_.begin(), ages_.end(), 0);
  restarts_ = std::move(restarts);
  restarts_before_ = restarts_;
  stage_began_ = iteration;
}

void Bank::expect_stage(std::int64_t iteration) { stage_began_ = iteration; }

bool Bank::too_old(std::int64_t row) const {
  if (!maximum_age_) return false;
  auto limit = static_cast<double>(*maximum_age_);
  const auto chain = static_cast<std::size_t>(row);
  if (restarts_[chain] == restarts_before_[chain]) {
    limit *= random::uniform_double({seed_, random::Stream::first_age, attempt_},
                                    static_cast<std::uint32_t>(first_id() + row),
                                    static_cast<std::uint64_t>(stage_began_));
  }
  const std::int64_t age = ages_[chain];
  return age > 0 && static_cast<double>(age) >= limit;
}

ChainBatch Bank::visit(std::int64_t iteration, double restart_probability,
                       const StartState& start) {
  const random::Key order{seed_, random::Stream::bank_order, attempt_};
  const random::Key restart{seed_, random::Stream::restart, attempt_};
  // A stage may have another number of active chains: it begins with a pass of its own, whose
  // number no earlier one has had, since there is at most one in an iteration.
  const std::int64_t in_stage = iteration - stage_began_;
  const std::int64_t pass = stage_began_ + in_stage / passes_;
  const std::int64_t first = in_stage % passes_ * active_per_shard_;
  visited_.clear();
  std::vector<std::int64_t> anew, anew_in_batch;
  for (std::int64_t shard = 0; shard < shards_.count; ++shard) {
    for (std::int64_t i = 0; i < active_per_shard_; ++i) {
      const auto within = static_cast<std::int64_t>(random::permute(
          static_cast<std::uint64_t>(first + i), static_cast<std::uint64_t>(per_shard_), order,
          static_cast<std::uint64_t>(pass), static_cast<std::uint32_t>(shards_.first + shard)));
      const std::int64_t row = shard * per_shard_ + within;
      const auto id = static_cast<std::uint32_t>(first_id() + row);
      if (too_old(row) ||
          random::uniform_double(restart, id, static_cast<std::uint64_t>(iteration)) <
              restart_probability) {
        anew.push_back(row);
        anew_in_batch.push_back(static_cast<std::int64_t>(visited_.size()));
      }
      visited_.push_back(row);
    }
  }
  ChainBatch batch = chains_.select(on_device(visited_));
  restarts_in_visit_ = static_cast<std::int64_t>(anew.size());
  if (!anew.empty()) {
    ChainBatch fresh = chains_.select(on_device(anew));
    forget(fresh);
    start(fresh, iteration);
    batch.put(on_device(anew_in_batch), fresh);
    for (const std::int64_t row : anew) {
      ages_[static_cast<std::size_t>(row)] = 0;
      ++restarts_[static_cast<std::size_t>(row)];
    }
  }
  return batch;
}

void Bank::put_back(const ChainBatch& batch, std::int64_t steps) {
  chains_.put(on_device(visited_), batch);
  for (const std::int64_t row : visited_) ages_[static_cast<std::size_t>(row)] += steps;
}

std::vector<ArrayView> Bank::arrays() {
  std::vector<ArrayView> views;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    views.push_back(showing(tensor, {.name = "chains/" + name,
                                     .shards = shards_.total,
                                     .first_shard = shards_.first,
                                     .shard_count = shards_.count}));
    views.back().shape[0] = per_shard_ * shards_.total;
  };
  add("state", chains_.state);
  add("age", at::from_blob(ages_.data(), {local_count()}, at::kLong));
  add("restarts", at::from_blob(restarts_.data(), {local_count()}, at::kLong));
  if (stage_began_ > 0) {
    add("restarts_before", at::from_blob(restarts_before_.data(), {local_count()}, at::kLong));
  }
  if (chains_.condition.defined()) add("condition", chains_.condition);
  for (std::size_t i = 0; i < memory_.size(); ++i) add(memory_[i].name, chains_.memory[i]);
  return views;
}

bool Bank::is_memory(const std::string& name) const {
  return std::ranges::any_of(memory_,
                             [&](const Memory& one) { return name == "chains/" + one.name; });
}

std::vector<std::int64_t> Bank::visited_ages() const {
  std::vector<std::int64_t> ages;
  for (const std::int64_t row : visited_) ages.push_back(ages_[static_cast<std::size_t>(row)]);
  return ages;
}

}  // namespace stanley
