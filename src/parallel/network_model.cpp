#include "parallel/network_model.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "parallel/shard_exchange.hpp"

namespace stanley {
namespace {

std::int64_t floor_power(std::int64_t ranks) {
  return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(ranks)));
}

double ceil_log2(std::int64_t ranks) {
  return static_cast<double>(std::bit_width(static_cast<std::uint64_t>(ranks - 1)));
}

/// One message through a level that `flows` of them share.
CollectiveCost message(const NetworkModel& model, const NetworkLevel& level, double bytes,
                       double flows = 1) {
  const bool asks = model.library == NetworkModel::Library::open_mpi && bytes > model.eager_bytes;
  return {level.latency * (asks ? 3 : 1), bytes * flows / level.bandwidth};
}

/// All ranks exchange with the one `distance` away: across nodes, those of a node share its link.
CollectiveCost exchange(const NetworkModel& model, std::int64_t distance, double bytes) {
  if (distance < model.ranks_per_node) return message(model, model.node, bytes);
  return message(model, model.network, bytes, static_cast<double>(model.ranks_per_node));
}

/// All ranks send to the next one: one of each node's ranks crosses to the next node, and the ring
/// goes at the pace of its slowest link.
CollectiveCost ring_step(const NetworkModel& model, std::int64_t ranks, double bytes) {
  const CollectiveCost inside = message(model, model.node, bytes);
  if (ranks <= model.ranks_per_node) return inside;
  const CollectiveCost across = message(model, model.network, bytes);
  return across.seconds() > inside.seconds() || model.ranks_per_node == 1 ? across : inside;
}

CollectiveCost times(double count, const CollectiveCost& cost) {
  return {count * cost.latency, count * cost.bandwidth};
}

CollectiveCost doubling_cost(const NetworkModel& model, std::int64_t ranks, double bytes) {
  const std::int64_t power = floor_power(ranks);
  CollectiveCost cost;
  for (std::int64_t distance = 1; distance < power; distance *= 2) {
    cost += exchange(model, distance, bytes);
  }
  // The ranks beyond the power of two hand their vector in, and get the result.
  if (power < ranks) cost += times(2, exchange(model, 1, bytes));
  return cost;
}

/// Rabenseifner: halves of the vector to ever more distant partners, and back.
CollectiveCost halving_cost(const NetworkModel& model, std::int64_t ranks, double bytes) {
  const std::int64_t power = floor_power(ranks);
  CollectiveCost cost;
  for (std::int64_t distance = 1; distance < power; distance *= 2) {
    cost += times(2, exchange(model, distance, bytes / static_cast<double>(2 * distance)));
  }
  if (power < ranks) {
    cost += times(2, exchange(model, 1, bytes / 2));
    cost += exchange(model, 1, bytes);
  }
  return cost;
}

CollectiveCost ring_cost(const NetworkModel& model, std::int64_t ranks, double bytes) {
  const auto size = static_cast<double>(ranks);
  return times(2 * (size - 1), ring_step(model, ranks, bytes / size));
}

/// Up a binomial tree and down again.
CollectiveCost reduce_broadcast_cost(const NetworkModel& model, std::int64_t ranks, double bytes) {
  CollectiveCost cost;
  for (std::int64_t distance = 1; distance < ranks; distance *= 2) {
    cost += times(2, distance < model.ranks_per_node ? message(model, model.node, bytes)
                                                     : message(model, model.network, bytes));
  }
  return cost;
}

/// NCCL: a chain inside of each node, two binary trees of half of the vector each between nodes.
CollectiveCost tree_cost(const NetworkModel& model, std::int64_t ranks, double bytes) {
  const std::int64_t inside = std::min(ranks, model.ranks_per_node);
  const std::int64_t nodes = (ranks + inside - 1) / inside;
  const double chain = 2 * static_cast<double>(inside - 1);
  CollectiveCost cost{chain * model.node.latency, 0};
  if (nodes > 1) cost.latency += 2 * ceil_log2(nodes) * model.network.latency;
  const double slowest =
      nodes > 1 ? std::min(model.node.bandwidth, model.network.bandwidth) : model.node.bandwidth;
  cost.bandwidth = 2 * bytes / (inside > 1 ? slowest : model.network.bandwidth);
  return cost;
}

enum class Gathering { bruck, ring, neighbour, linear };

/// Open MPI's choice by bytes of each rank.
Gathering gathering(std::int64_t ranks, double bytes) {
  using enum Gathering;
  if (ranks == 2) return ring;
  if (ranks < 8) {
    if (bytes < 256) return linear;
    if (bytes < 4096) return neighbour;
    if (bytes < 8192) return ring;
    return bytes >= 16384 && bytes < 262144 ? bruck : neighbour;
  }
  if (ranks < 16) return bytes < 1024 ? linear : bruck;
  if (ranks < 32) return bytes < 128 ? linear : bytes < 262144 ? bruck : ring;
  if (ranks < 128) {
    if (bytes < 256) return linear;
    return bytes < (ranks < 64 ? 8192 : 4096) ? bruck : ring;
  }
  if (ranks < 256) return bytes < 1024 ? bruck : bytes < 65536 ? neighbour : ring;
  if (ranks < 512) return bytes < 1024 ? bruck : ring;
  if (ranks < 1024) {
    if (bytes >= 512 && bytes < 1024) return linear;
    return bytes < 4096 ? bruck : bytes < 1048576 ? neighbour : ring;
  }
  return bytes < 4096 ? bruck : neighbour;
}

/// Each rank gives `bytes` and gets those of all.
CollectiveCost all_gather_cost(const NetworkModel& model, std::int64_t ranks, double bytes) {
  const auto size = static_cast<double>(ranks);
  Gathering way = Gathering::ring;
  if (model.library == NetworkModel::Library::open_mpi) way = gathering(ranks, bytes);
  if (way == Gathering::neighbour && ranks % 2 != 0) way = Gathering::ring;
  CollectiveCost cost;
  switch (way) {
    case Gathering::bruck:
      for (std::int64_t distance = 1; distance < ranks; distance *= 2) {
        const auto blocks = static_cast<double>(std::min(distance, ranks - distance));
        cost += exchange(model, distance, blocks * bytes);
      }
      return cost;
    case Gathering::neighbour:
      cost = ring_step(model, ranks, bytes);
      cost += times(size / 2 - 1, ring_step(model, ranks, 2 * bytes));
      return cost;
    case Gathering::linear:
      cost = reduce_broadcast_cost(model, ranks, size * bytes);
      return times(0.5, cost) += {model.network.latency, size * bytes / model.network.bandwidth};
    case Gathering::ring:
      break;
  }
  return times(size - 1, ring_step(model, ranks, bytes));
}

struct Algorithm {
  const char* name;
  CollectiveCost (*cost)(const NetworkModel& model, std::int64_t ranks, double bytes);
};
constexpr Algorithm doubling{"recursive doubling", doubling_cost};
constexpr Algorithm ring{"ring", ring_cost};
constexpr Algorithm halving{"Rabenseifner", halving_cost};
constexpr Algorithm reduce_broadcast{"reduce and broadcast", reduce_broadcast_cost};
constexpr Algorithm tree{"double binary tree", tree_cost};

// Open MPI 4.1, coll_tuned_decision_fixed.c: from so many ranks on, up to so many bytes
// (exclusive).
struct Choice {
  std::int64_t ranks_below;
  double bytes_below;
  Algorithm algorithm;
};
constexpr double any = 1e300;
constexpr std::int64_t all = std::int64_t{1} << 62;
constexpr Choice all_reduce_choices[] = {{4, 8, ring},
                                         {4, 4096, doubling},
                                         {4, 8192, ring},
                                         {4, 16384, doubling},
                                         {4, 262144, ring},
                                         {4, any, halving},
                                         {8, 16, ring},
                                         {8, 8192, doubling},
                                         {8, any, halving},
                                         {16, 8192, doubling},
                                         {16, any, halving},
                                         {32, 64, ring},
                                         {32, 4096, doubling},
                                         {32, any, halving},
                                         {64, 128, ring},
                                         {64, any, halving},
                                         {128, 262144, doubling},
                                         {128, any, halving},
                                         {256, 131072, reduce_broadcast},
                                         {256, 262144, doubling},
                                         {256, any, halving},
                                         {512, 4096, reduce_broadcast},
                                         {512, any, halving},
                                         {2048, 2048, reduce_broadcast},
                                         {2048, 16384, doubling},
                                         {2048, any, halving},
                                         {4096, 2048, reduce_broadcast},
                                         {4096, 4096, ring},
                                         {4096, 16384, doubling},
                                         {4096, any, halving},
                                         {all, 2048, reduce_broadcast},
                                         {all, 16384, ring},
                                         {all, 32768, doubling},
                                         {all, any, halving}};

Algorithm open_mpi_choice(std::int64_t ranks, double bytes) {
  const Choice* choice =
      std::find_if(std::begin(all_reduce_choices), std::end(all_reduce_choices),
                   [&](const Choice& c) { return ranks < c.ranks_below && bytes < c.bytes_below; });
  // A ring deals the elements (4 bytes at least) to the ranks; with fewer it is no ring.
  const bool too_few = bytes < 4 * static_cast<double>(ranks);
  return choice->algorithm.cost == ring_cost && too_few ? doubling : choice->algorithm;
}

Algorithm choice(const NetworkModel& model, std::int64_t ranks, double bytes) {
  if (model.library == NetworkModel::Library::open_mpi) return open_mpi_choice(ranks, bytes);
  return ring_cost(model, ranks, bytes).seconds() <= tree_cost(model, ranks, bytes).seconds()
             ? ring
             : tree;
}

/// Each rank has `bytes` for each other one: long messages pairwise, and short ones where Open MPI
/// does it.
CollectiveCost all_to_all_cost(const NetworkModel& model, std::int64_t ranks, double bytes) {
  const double others = static_cast<double>(ranks - 1);
  const double inside = static_cast<double>(std::min(ranks, model.ranks_per_node) - 1);
  const double across = others - inside;
  const double sharing = static_cast<double>(model.ranks_per_node);
  const bool pairwise = model.library == NetworkModel::Library::open_mpi &&
                        (bytes > static_cast<double>(pairwise_bytes) || ranks < 4 ||
                         (ranks >= 64 && ranks < 128) || (ranks >= 256 && ranks < 1024));
  CollectiveCost cost = times(inside, message(model, model.node, bytes));
  cost += times(across, message(model, model.network, bytes, sharing));
  if (pairwise) return cost;
  const double farthest = message(model, across > 0 ? model.network : model.node, bytes).latency;
  return {farthest + others * model.overhead, cost.bandwidth};
}

}  // namespace

CollectiveCost all_reduce_cost(const NetworkModel& model, std::int64_t ranks, double bytes) {
  return ranks == 1 ? CollectiveCost{} : choice(model, ranks, bytes).cost(model, ranks, bytes);
}

CollectiveCost ordered_sum_cost(const NetworkModel& model, std::int64_t ranks, std::int64_t parts,
                                double bytes) {
  if (ranks == 1) return {};
  constexpr double buffer_bytes = 4.0 * (1 << 24);  // as in plan_exchange()
  const double blocks = std::ceil(bytes * static_cast<double>(parts) / buffer_bytes);
  const double slice = bytes / blocks / static_cast<double>(ranks);
  const double most_parts = std::ceil(static_cast<double>(parts) / static_cast<double>(ranks));
  NetworkModel table_model = model;  // the table of parts goes by MPI in any case
  table_model.library = NetworkModel::Library::open_mpi;
  CollectiveCost cost = all_reduce_cost(table_model, ranks, 16 * static_cast<double>(ranks));
  cost += times(blocks, all_to_all_cost(model, ranks, most_parts * slice));
  cost += times(blocks, all_gather_cost(model, ranks, slice));
  return cost;
}

std::string all_reduce_algorithm(const NetworkModel& model, std::int64_t ranks, double bytes) {
  return ranks == 1 ? "none (one rank)" : choice(model, ranks, bytes).name;
}

}  // namespace stanley
