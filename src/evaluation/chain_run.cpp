#include "evaluation/chain_run.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

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

/// Of an array [chains, ...].
std::size_t bytes_of_a_row(const at::Tensor& array) {
  return array.element_size() *
         static_cast<std::size_t>(c10::multiply_integers(array.sizes().slice(1)));
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
  if (done_ == 0) start_to_remember();
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

void ChainRun::denoise(const Denoiser& denoiser) {
  agree(communicator_, [&] {
    pieces_.for_each(mine(), [&](std::int64_t first, std::int64_t count) {
      ChainBatch piece = chains_.narrow(first, count);
      piece.state = piece.state.clone();
      denoiser.apply(*energy_.energy.engine, piece);
      chains_.state.narrow(0, first, count).copy_(piece.state);
    });
  });
}

at::Tensor ChainRun::states() {
  std::vector<std::int64_t> shape = energy_.energy.network->state_shape();
  shape.insert(shape.begin(), count_);
  at::Tensor all = at::empty(shape, at::kFloat);
  gather(chains_.state, values_of<float>(all));
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

void ChainRun::start_to_remember() {
  chains_.memory = start_memory(transition_->memory(), chains_.state);
}

/// Of this rank's chains; a row of each is a chain's.
std::vector<at::Tensor> ChainRun::arrays() const {
  std::vector<at::Tensor> all{chains_.state};
  all.insert(all.end(), chains_.memory.begin(), chains_.memory.end());
  return all;
}

/// Collective. The rows of all ranks, of whatever type, as so many floats: they are only moved.
void ChainRun::gather(const at::Tensor& own, std::span<float> all) {
  const auto floats_of_a_row = static_cast<std::int64_t>(all.size()) / count_;
  std::vector<int> counts;
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    const Part part = part_of(count_, rank, communicator_.size());
    counts.push_back(static_cast<int>(part.count * floats_of_a_row));
  }
  const at::Tensor here = own.to(at::kCPU).contiguous();
  communicator_.all_gather(
      {static_cast<const float*>(here.const_data_ptr()), here.nbytes() / sizeof(float)}, all,
      counts);
}

std::vector<std::uint8_t> ChainRun::snapshot() {
  std::vector<std::uint8_t> bytes;
  for (const at::Tensor& own : arrays()) {
    std::vector<float> all(static_cast<std::size_t>(count_) * bytes_of_a_row(own) / sizeof(float));
    gather(own, all);
    const auto* const begin = reinterpret_cast<const std::uint8_t*>(all.data());
    bytes.insert(bytes.end(), begin, begin + all.size() * sizeof(float));
  }
  return bytes;
}

void ChainRun::restore(std::int64_t done, const std::vector<std::uint8_t>& snapshot) {
  done_ = done;
  if (done > 0) start_to_remember();
  const std::uint8_t* rows = snapshot.data();
  for (const at::Tensor& own : arrays()) {
    const std::size_t bytes = bytes_of_a_row(own);
    const at::Tensor here = at::empty(own.sizes(), own.options().device(at::kCPU));
    std::memcpy(here.mutable_data_ptr(), rows + static_cast<std::size_t>(first_) * bytes,
                here.nbytes());
    own.copy_(here);
    rows += static_cast<std::size_t>(count_) * bytes;
  }
}

}  // namespace stanley
