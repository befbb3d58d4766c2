#include "energy/operation_times.hpp"

namespace stanley {
namespace {

thread_local OperationTimes* current = nullptr;

}  // namespace

std::string name_of(Operation operation) {
  switch (operation) {
    case Operation::input_convolution:
      return "input convolution";
    case Operation::products:
      return "matrix products";
    case Operation::transformations:
      return "Winograd transforms";
    case Operation::activations:
      return "activations";
    case Operation::multiplications:
      return "multiplications";
    case Operation::output:
      return "output layer";
    case Operation::autograd:
      return "gradient by autograd";
    case Operation::gain:
      return "gain";
    case Operation::update:
      return "noise and update";
  }
  return {};
}

OperationTimes::OperationTimes() { current = this; }
OperationTimes::~OperationTimes() { current = nullptr; }

Timed::Timed(Operation operation, double flops)
    : times_(current), operation_(operation), flops_(flops) {
  if (times_ != nullptr) start_ = std::chrono::steady_clock::now();
}

Timed::~Timed() {
  if (times_ == nullptr) return;
  const auto index = static_cast<std::size_t>(operation_);
  times_->seconds_[index] +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  times_->flops_[index] += flops_;
}

}  // namespace stanley
