#include "parallel/reducer.hpp"

#include <algorithm>
#include <functional>
#include <vector>

#include "parallel/shard_exchange.hpp"

namespace stanley {
namespace {

/// total = ((part 0 + part 1) + part 2) + ..., where part p begins at parts[p * total.size()]; zero
/// if there is none. total may be part 0.
void ordered_sum(std::span<const float> parts, std::span<float> total) {
  if (total.empty()) return;
  if (parts.empty()) {
    std::fill(total.begin(), total.end(), 0.0f);
    return;
  }
  if (parts.data() != total.data()) std::copy_n(parts.begin(), total.size(), total.begin());
  for (std::size_t begin = total.size(); begin < parts.size(); begin += total.size()) {
    const std::span<const float> part = parts.subspan(begin, total.size());
    std::transform(total.begin(), total.end(), part.begin(), total.begin(), std::plus<float>());
  }
}

/// Host memory through MPI, or alone without it.
class MpiReducer final : public Reducer {
 public:
  MpiReducer(Communicator& communicator, Summation summation)
      : communicator_(communicator), summation_(summation) {}

  void reduce(std::span<const float> parts, std::span<float> total) override {
    const std::size_t count = count_parts(parts.size(), total.size());
    if (summation_ == Summation::by_shard && communicator_.size() > 1) {
      return sum_by_shard(parts, count, total);
    }
    ordered_sum(parts, total);
    communicator_.sum(total);
  }

  std::string description() const override {
    if (communicator_.size() == 1) return "none (one rank)";
    return summation_ == Summation::plain ? "MPI" : "MPI, ordered by shard";
  }

 private:
  void sum_by_shard(std::span<const float> parts, std::size_t count, std::span<float> total) {
    const ShardExchange exchange = plan_exchange(communicator_, count, total.size());
    for (std::size_t begin = 0; begin < total.size(); begin += exchange.block) {
      const std::size_t length = std::min(exchange.block, total.size() - begin);
      pack(exchange, parts, total.size(), begin, length);
      sum_block(exchange, total.subspan(begin, length));
    }
  }

  /// For each rank in turn: its slice of each of our parts.
  void pack(const ShardExchange& exchange, std::span<const float> parts, std::size_t stride,
            std::size_t begin, std::size_t length) {
    const std::size_t count = exchange.parts[static_cast<std::size_t>(communicator_.rank())];
    send_.resize(count * length);
    send_counts_.resize(exchange.ranks());
    auto next = send_.begin();
    for (std::size_t rank = 0; rank < exchange.ranks(); ++rank) {
      const std::size_t size = exchange.slice_size(length, rank);
      const std::size_t first = begin + exchange.slice_begin(length, rank);
      for (std::size_t part = 0; part < count; ++part) {
        const auto slice = parts.subspan(part * stride + first, size);
        next = std::copy(slice.begin(), slice.end(), next);
      }
      send_counts_[rank] = static_cast<int>(count * size);
    }
  }

  /// Ranks hold contiguous shards, so what arrives in rank order is in shard order.
  void sum_block(const ShardExchange& exchange, std::span<float> block) {
    const auto rank = static_cast<std::size_t>(communicator_.rank());
    const std::size_t mine = exchange.slice_size(block.size(), rank);
    receive_.resize(exchange.total_parts * mine);
    receive_counts_.resize(exchange.ranks());
    slice_counts_.resize(exchange.ranks());
    for (std::size_t other = 0; other < exchange.ranks(); ++other) {
      receive_counts_[other] = static_cast<int>(exchange.parts[other] * mine);
      slice_counts_[other] = static_cast<int>(exchange.slice_size(block.size(), other));
    }
    communicator_.all_to_all(send_, send_counts_, receive_, receive_counts_,
                             exchange.order(block.size()));
    sum_.resize(mine);
    ordered_sum(receive_, sum_);
    communicator_.all_gather(sum_, block, slice_counts_);
  }

  Communicator& communicator_;
  Summation summation_;
  std::vector<float> send_, receive_, sum_;
  std::vector<int> send_counts_, receive_counts_, slice_counts_;
};

}  // namespace

std::unique_ptr<Reducer> make_reducer(Communicator& communicator, Transport transport,
                                      Summation summation, std::chrono::seconds deadline) {
  if (transport == Transport::mpi) return std::make_unique<MpiReducer>(communicator, summation);
  return make_device_reducer(communicator, transport, summation, deadline);
}

}  // namespace stanley
