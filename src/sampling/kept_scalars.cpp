#include "sampling/kept_scalars.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "parallel/gather.hpp"

namespace stanley {
namespace {

constexpr std::int64_t most_numbers = std::int64_t{1} << 24, most_chains = 1024, least_draws = 8,
                       most_coordinates = 16;

/// Of one shard, in whole super-chains of `together`.
std::vector<std::int64_t> chains_of_shard(const RankChains& rows, std::int64_t together) {
  const std::int64_t stride =
      std::max<std::int64_t>((rows.total() + most_chains - 1) / most_chains, 1);
  std::vector<std::int64_t> chains;
  for (std::int64_t group = 0; group < rows.per_shard / together; group += stride) {
    for (std::int64_t i = 0; i < together; ++i) chains.push_back(group * together + i);
  }
  return chains;
}

std::vector<std::int64_t> evenly_spaced(std::int64_t dimension) {
  const std::int64_t count = std::min(dimension, most_coordinates);
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < count; ++i) {
    places.push_back(count == 1 ? 0 : i * (dimension - 1) / (count - 1));
  }
  return places;
}

}  // namespace

KeptScalars::KeptScalars(const Config& config, const RankChains& rows, std::int64_t dimension)
    : rows_(rows),
      chains_(chains_of_shard(rows, config.sampling.chains_per_start)),
      coordinates_(evenly_spaced(dimension)) {
  per_shard_ = static_cast<std::int64_t>(chains_.size());
  most_draws_ = std::max(most_numbers / (chains() * quantities()), least_draws);
}

void KeptScalars::add(std::int64_t number, const Draw& draw) {
  if (number % every_ != 0) return;
  const float* const states = draw.states.const_data_ptr<float>();
  const double* const energies = draw.energies.const_data_ptr<double>();
  const std::int64_t dimension = rows_.count() > 0 ? draw.states.numel() / rows_.count() : 0;
  std::vector<double>& kept = draws_.emplace_back();
  for (std::int64_t shard = 0; shard < rows_.shards.count; ++shard) {
    for (const std::int64_t chain : chains_) {
      const std::int64_t row = shard * rows_.per_shard + chain;
      kept.push_back(energies[row]);
      for (const std::int64_t at : coordinates_) kept.push_back(states[row * dimension + at]);
    }
  }
  if (draws() <= most_draws_) return;
  for (std::size_t i = 0; 2 * i < draws_.size(); ++i) draws_[i] = std::move(draws_[2 * i]);
  draws_.resize((draws_.size() + 1) / 2);
  every_ *= 2;
}

std::string KeptScalars::name(std::int64_t quantity) const {
  return quantity == 0 ? "energy"
                       : fmt::format("x[{}]", coordinates_[static_cast<std::size_t>(quantity - 1)]);
}

std::vector<double> KeptScalars::gather(Communicator& communicator) const {
  std::vector<double> mine;
  arrays(draws(), mine);
  const std::vector<double> all = gather_numbers(mine, communicator);
  std::vector<double> by_quantity(all.size());
  const std::int64_t count = chains() * draws();
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t quantity = 0; quantity < quantities(); ++quantity) {
      by_quantity[static_cast<std::size_t>(quantity * count + i)] = all[place(i, quantity)];
    }
  }
  return by_quantity;
}

std::vector<ArrayView> KeptScalars::arrays(std::int64_t draws, std::vector<double>& keep) const {
  if (draws == 0) return {};
  keep.assign(static_cast<std::size_t>(local() * draws * quantities()), 0);
  for (std::int64_t draw = 0; draw < std::min(draws, this->draws()); ++draw) {
    const std::vector<double>& one = draws_[static_cast<std::size_t>(draw)];
    for (std::int64_t chain = 0; chain < local(); ++chain) {
      std::copy_n(one.begin() + static_cast<std::ptrdiff_t>(place(chain, 0)), quantities(),
                  keep.begin() + static_cast<std::ptrdiff_t>(place(chain * draws + draw, 0)));
    }
  }
  ArrayView view = rows_.view("kept/scalars", per_shard_);
  view.type = ElementType::float64;
  view.shape.insert(view.shape.end(), {draws, quantities()});
  view.data = keep.data();
  return {view};
}

void KeptScalars::take(const std::vector<double>& keep, std::int64_t draws, std::int64_t every) {
  every_ = every;
  draws_.assign(static_cast<std::size_t>(draws), {});
  for (std::int64_t draw = 0; draw < draws; ++draw) {
    std::vector<double>& one = draws_[static_cast<std::size_t>(draw)];
    for (std::int64_t chain = 0; chain < local(); ++chain) {
      const auto from = keep.begin() + static_cast<std::ptrdiff_t>(place(chain * draws + draw, 0));
      one.insert(one.end(), from, from + quantities());
    }
  }
}

}  // namespace stanley
