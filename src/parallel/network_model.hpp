#pragma once

#include <cstdint>
#include <string>

namespace stanley {

/// One level of a network. A message of m bytes takes latency + m / bandwidth.
struct NetworkLevel {
  double latency = 0;    ///< s, from the sender's call to the receiver's return
  double bandwidth = 1;  ///< bytes/s of contents, each way
};

/// What a cluster's network does to messages between its ranks. Ranks fill the nodes in order.
struct NetworkModel {
  enum class Library { open_mpi, nccl };

  Library library = Library::open_mpi;
  NetworkLevel node;     ///< between two ranks of one node
  NetworkLevel network;  ///< between two nodes: all ranks of a node share its bandwidth
  std::int64_t ranks_per_node = 1;
  double eager_bytes = 65536;  ///< longer messages ask first: one round trip more (MPI alone)
  double overhead = 1e-6;      ///< s, of a processor for each message it sends to many at once
};

/// Seconds that a collective takes from when all ranks are there, split by what they are spent on.
struct CollectiveCost {
  double latency = 0;
  double bandwidth = 0;

  double seconds() const { return latency + bandwidth; }
  CollectiveCost& operator+=(const CollectiveCost& other) {
    latency += other.latency;
    bandwidth += other.bandwidth;
    return *this;
  }
};

/// An all-reduce of `bytes`. MPI: the algorithm is that which Open MPI 4.1 chooses for this size
/// and number of ranks (coll_tuned_decision_fixed.c): recursive doubling, ring, or Rabenseifner's
/// halving and doubling. NCCL: ring or double binary tree (Sanders, Speck, Traeff 2009), the faster
/// one. Additions are not counted.
CollectiveCost all_reduce_cost(const NetworkModel& model, std::int64_t ranks, double bytes);

/// The same sum in shard order (shard_exchange.hpp): `parts` vectors of `bytes` in all, dealt to
/// the ranks; all-to-all by slices, and a gathering of the sums.
CollectiveCost ordered_sum_cost(const NetworkModel& model, std::int64_t ranks, std::int64_t parts,
                                double bytes);

/// What all_reduce_cost() goes by: "Rabenseifner", "ring", ....
std::string all_reduce_algorithm(const NetworkModel& model, std::int64_t ranks, double bytes);

}  // namespace stanley
