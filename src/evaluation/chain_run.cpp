#include "evaluation/chain_run.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <span>

#include "chains/tensor_view.hpp"
#include "config/error.hpp"
#include "parallel/agree.hpp"
#include "parallel/shards.hpp"

namespace stanley {
namespace {

constexpr std::int64_t chains_of_a_group = 32;

/// The chains of one rank: whole groups.
struct Part {
  std::int64_t first, count;
};

Part part_of(std::int64_t count, std::int64_t rank, std::int64_t size) {
  const std::int64_t groups = (count + chains_of_a_group - 1) / chains_of_a_group;
  const Shards dealt = deal_shards(groups, rank, size);
  const std::int64_t first = std::min(count, dealt.first * chains_of_a_group);
  return {first, std::min(count - first, dealt.count * chains_of_a_group)};
}

}  // namespace

ChainRun::ChainRun(SubjectEnergy& energy, std::int64_t count, Communicator& communicator)
    : energy_(energy), communicator_(communicator), count_(count) {
  const StateShape& shape = energy.energy.network->state_shape();
  std::int64_t dimension = 1;
  for (const std::int64_t extent : shape) dimension *= extent;
  const std::int64_t most = std::numeric_limits<int>::max() / dimension;
  if (count > most) {
    throw Error(ExitCode::configuration,
                fmt::format("{} chains are too many to be compared: states of {} numbers allow {} "
                            "(--chains)",
                            count, dimension, most));
  }
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const Part part = part_of(count, rank, communicator.size());
    elements_.push_back(static_cast<int>(part.count * dimension));
  }
  const Part part = part_of(count, communicator.rank(), communicator.size());
  first_ = part.first;
  chains_ = zero_chains(part.first, part.count, shape, energy.setup.torch_device);
  pieces_ = {.most = energy.energy.most_states,
             .group = energy.energy.engine->batch_invariant() ? 0 : chains_of_a_group};
  transition_ = make_piecewise_transition(pieces_, [&] {
    return make_transition(energy.config.sampler,
                           {energy.config.run.seed, random::Stream::sampling, 0});
  });
}

void ChainRun::start(std::int64_t first, std::int64_t count, const StartState& start) {
  const std::int64_t begin = std::max(first, first_);
  const std::int64_t end = std::min(first + count, first_ + mine());
  if (begin < end) start_in_blocks(chains_.narrow(begin - first_, end - begin), 0, start);
}

void ChainRun::start(std::int64_t first, std::int64_t count, const ReadStates& read) {
  const std::int64_t begin = std::max(first, first_);
  const std::int64_t end = std::min(first + count, first_ + mine());
  if (begin >= end) return;
  const at::Tensor there = chains_.state.narrow(0, begin - first_, end - begin);
  const at::Tensor states = at::empty(there.sizes(), at::kFloat);
  read(begin - first, end - begin, states.mutable_data_ptr<float>());
  there.copy_(states);
}

void ChainRun::advance(std::int64_t steps, const std::function<void(std::int64_t)>& moved) {
  if (done_ == 0) chains_.memory = start_memory(transition_->memory(), chains_.state);
  const std::int64_t end = done_ + steps;
  agree(communicator_, [&] {
    while (done_ < end) {
      // What a transition holds for the steps of a call, the training holds for those of a visit.
      const std::int64_t now = std::min(energy_.config.sampler.steps, end - done_);
      if (mine() > 0) {
        transition_->advance(*energy_.energy.engine, chains_, static_cast<std::uint64_t>(done_),
                             now);
      }
      done_ += now;
      moved(done_);
    }
  });
}

at::Tensor ChainRun::states() {
  std::vector<std::int64_t> shape = energy_.energy.network->state_shape();
  shape.insert(shape.begin(), count_);
  at::Tensor all = at::empty(shape, at::kFloat);
  const at::Tensor own = chains_.state.to(at::kCPU).contiguous();
  communicator_.all_gather(
      std::span<const float>(own.const_data_ptr<float>(), static_cast<std::size_t>(own.numel())),
      values_of<float>(all), elements_);
  return all;
}

std::vector<double> ChainRun::energies() {
  std::vector<double> all(static_cast<std::size_t>(count_));
  if (mine() > 0) {
    const at::Tensor own =
        energies_of(*energy_.energy.engine, chains_.points(), pieces_).to(at::kCPU);
    std::copy_n(own.const_data_ptr<double>(), mine(), all.begin() + first_);
  }
  communicator_.sum(std::span<double>(all));
  return all;
}

}  // namespace stanley
