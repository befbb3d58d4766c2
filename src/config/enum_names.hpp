#pragma once

#include <array>
#include <string_view>

#include "config/config.hpp"

namespace stanley {

/// The names of an enumeration in the order of its values: the only place that spells them.
template <typename Enum>
struct EnumNames;

template <>
struct EnumNames<DeviceKind> {
  static constexpr std::array<std::string_view, 3> names{"auto", "cpu", "cuda"};
};
template <>
struct EnumNames<Precision> {
  static constexpr std::array<std::string_view, 3> names{"auto", "float32", "bfloat16"};
};
template <>
struct EnumNames<EnergyType> {
  static constexpr std::array<std::string_view, 4> names{"mlp", "convnet", "resnet", "torchscript"};
};
template <>
struct EnumNames<Activation> {
  static constexpr std::array<std::string_view, 2> names{"silu", "leaky_relu"};
};
template <>
struct EnumNames<DataType> {
  static constexpr std::array<std::string_view, 5> names{"file", "eight_gaussians", "pinwheel",
                                                         "checkerboard", "rings"};
};
template <>
struct EnumNames<StartType> {
  static constexpr std::array<std::string_view, 5> names{"uniform", "normal", "data",
                                                         "data_gaussian", "bank"};
};
template <>
struct EnumNames<TransitionType> {
  static constexpr std::array<std::string_view, 3> names{"stanley", "langevin", "gradient_descent"};
};
template <>
struct EnumNames<Refresh> {
  static constexpr std::array<std::string_view, 2> names{"iteration", "step"};
};
template <>
struct EnumNames<ObjectiveType> {
  static constexpr std::array<std::string_view, 1> names{"contrastive"};
};
template <>
struct EnumNames<OptimizerType> {
  static constexpr std::array<std::string_view, 2> names{"adam", "sgd"};
};
template <>
struct EnumNames<ScheduleType> {
  static constexpr std::array<std::string_view, 4> names{"constant", "linear_warmup", "exponential",
                                                         "cosine"};
};

}  // namespace stanley
