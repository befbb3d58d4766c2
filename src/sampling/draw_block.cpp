#include "sampling/draw_block.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "chains/tensor_view.hpp"

namespace stanley {
namespace {

/// [n, size, ...] as its first `count` draws, without holes.
at::Tensor leading(const at::Tensor& all, std::int64_t count) {
  return all.narrow(1, 0, count).contiguous();
}

std::vector<double> numbers_of(const at::Tensor& all) {
  const double* const values = all.const_data_ptr<double>();
  return {values, values + all.numel()};
}

}  // namespace

DrawBlock::DrawBlock(std::int64_t first, std::int64_t size, const RankChains& rows,
                     const StateShape& shape)
    : first_(first), rows_(rows) {
  std::vector<std::int64_t> all{rows.count(), size};
  all.insert(all.end(), shape.begin(), shape.end());
  states_ = at::empty(all, at::kFloat);
  energies_ = at::empty({rows.count(), size}, at::kDouble);
  acceptance_ = at::empty({rows.count(), size}, at::kDouble);
}

void DrawBlock::add(const Draw& draw) {
  states_.select(1, count()).copy_(draw.states);
  energies_.select(1, count()).copy_(draw.energies);
  acceptance_.select(1, count()).copy_(draw.acceptance);
  ages_.push_back(draw.age);
}

CommitReport DrawBlock::write(Communicator& communicator, const std::string& path,
                              const Config& config, const decltype(DrawSet::attributes)& attributes,
                              const FileOptions& options) const {
  const at::Tensor states = leading(states_, count());
  DrawColumns columns{.energies = numbers_of(leading(energies_, count())),
                      .acceptance = numbers_of(leading(acceptance_, count())),
                      .ages = {},
                      .restarts = {}};
  for (std::int64_t i = 0; i < rows_.count(); ++i) {
    columns.ages.insert(columns.ages.end(), ages_.begin(), ages_.end());
  }
  columns.restarts.assign(columns.ages.size(), 0);
  DrawSet set;
  set.state_shape = states_.sizes().slice(2).vec();
  set.chains = rows_.total();
  set.chains_per_shard = rows_.per_shard;
  set.first_chain = rows_.first();
  set.chain_count = rows_.count();
  set.draw_numbers.resize(ages_.size());
  std::iota(set.draw_numbers.begin(), set.draw_numbers.end(), first_);
  set.states = states.const_data_ptr<float>();
  describe(set, columns, config);
  for (const auto& [name, value] : attributes) set.attributes[name] = value;
  return write_draws(communicator, path, set, options);
}

std::vector<ArrayView> DrawBlock::arrays(std::int64_t count, std::vector<at::Tensor>& keep) const {
  std::vector<ArrayView> views;
  if (count == 0) return views;
  at::Tensor ages = at::zeros({rows_.count(), count}, at::kLong);
  for (std::int64_t i = 0; i < std::min(count, this->count()); ++i) {
    ages.select(1, i).fill_(ages_[static_cast<std::size_t>(i)]);
  }
  const auto add = [&](const char* name, ElementType type, const at::Tensor& copy) {
    ArrayView view = rows_.view(name, rows_.per_shard);
    view.type = type;
    view.shape.insert(view.shape.end(), copy.sizes().begin() + 1, copy.sizes().end());
    view.data = copy.mutable_data_ptr();
    views.push_back(std::move(view));
    keep.push_back(copy);
  };
  add("block/state", ElementType::float32, leading(states_, count));
  add("block/energy", ElementType::float64, leading(energies_, count));
  add("block/acceptance", ElementType::float64, leading(acceptance_, count));
  add("block/age", ElementType::int64, ages);
  return views;
}

void DrawBlock::take(const std::vector<at::Tensor>& keep) {
  if (keep.empty()) return;
  const std::int64_t count = keep.front().size(1);
  states_.narrow(1, 0, count).copy_(keep[0]);
  energies_.narrow(1, 0, count).copy_(keep[1]);
  acceptance_.narrow(1, 0, count).copy_(keep[2]);
  ages_.clear();
  for (std::int64_t i = 0; i < count; ++i) ages_.push_back(keep[3][0][i].item<std::int64_t>());
}

std::string draws_path(const std::string& folder, std::int64_t first) {
  return fmt::format("{}/draws-{:08}.nc", folder, first);
}

}  // namespace stanley
