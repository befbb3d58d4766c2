#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <vector>

struct CUevent_st;  // cudaEvent_t is a pointer to it

namespace stanley {

/// What a chain step spends its time with.
enum class Operation {
  input_convolution,  ///< the first one, forward and backward
  products,           ///< matrix products, or direct convolutions, of all other layers
  transformations,    ///< Winograd's, of inputs and outputs and their adjoints
  activations,        ///< f and f′
  multiplications,    ///< of gradients with f′, where Winograd's adjoint doesn't make them
  output,             ///< the last layer
  autograd,           ///< the whole gradient, where LibTorch makes it
  gain,               ///< its threshold, from the gradient's quantiles
  update,             ///< noise, gain, drift and box, in one pass
};

/// In words, for a table.
constexpr auto names_of(Operation) {
  return std::array{"input convolution", "matrix products", "Winograd transforms",  "activations",
                    "multiplications",   "output layer",    "gradient by autograd", "gain",
                    "noise and update"};
}
constexpr std::size_t operation_count = names_of(Operation{}).size();

/// Seconds and arithmetic by operation, of what Timed sees in this thread while this object lives.
/// There is one at a time for each thread.
class OperationTimes {
 public:
  /// The host's time; or that of what is queued on the current GPU stream meanwhile, which finish()
  /// waits for.
  explicit OperationTimes(bool on_gpu = false);
  ~OperationTimes();
  OperationTimes(const OperationTimes&) = delete;
  OperationTimes& operator=(const OperationTimes&) = delete;

  /// On a GPU: adds up the times of all that was queued. Throws Error(environment) if that fails.
  void finish();

  double seconds(Operation operation) const {
    return seconds_[static_cast<std::size_t>(operation)];
  }
  /// Of the arithmetic that is done, not of the convolution that it stands for; 0: not counted.
  double flops(Operation operation) const { return flops_[static_cast<std::size_t>(operation)]; }

 private:
  friend class Timed;
  /// Two events on a GPU's stream.
  struct Span {
    Operation operation;
    CUevent_st *begin, *end;
  };
  bool on_gpu_;
  std::vector<Span> spans_;
  std::array<double, operation_count> seconds_{}, flops_{};
};

/// Counts the time until its end for an operation; does nothing where nobody asks.
class Timed {
 public:
  explicit Timed(Operation operation, double flops = 0);
  ~Timed();
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  OperationTimes* times_;
  Operation operation_;
  double flops_;
  CUevent_st* begin_ = nullptr;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace stanley
