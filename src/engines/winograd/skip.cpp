#include "engines/winograd/skip.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "energy/operation_times.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matrix_product.hpp"

namespace stanley {

WinogradSkip::WinogradSkip(const ImageLayout& input, const ImageLayout& output, bool convolves)
    : input_(input),
      output_(output),
      convolves_(convolves),
      weight_(sum_size()),
      adjoint_(sum_size()),
      bias_(output.channels) {}

void WinogradSkip::load(const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor whole = weight.detach().contiguous(), biases = bias.detach().contiguous();
  const auto* from = whole.const_data_ptr<float>();
  for (std::int64_t o = 0; o < whole.size(0); ++o) {
    for (std::int64_t i = 0; i < whole.size(1); ++i, ++from) {
      weight_.data()[i * output_.channels + o] = *from;
      adjoint_.data()[o * input_.channels + i] = *from;
    }
  }
  std::copy_n(biases.const_data_ptr<float>(), biases.numel(), bias_.data());
}

void WinogradSkip::forward(const float* image, float* mean, float* skip) const {
  const Timed timed(Operation::products, flops());
  for (std::int64_t y = 0; y < output_.height; ++y, skip += output_.row_size()) {
    if (!convolves_) {
      std::copy_n(image + input_.row(y), input_.row_size(), skip);
      continue;
    }
    mean_of_squares(output_.width, input_.channels, image + input_.row(2 * y),
                    image + input_.row(2 * y + 1), mean);
    multiply_matrices({.rows = output_.width,
                       .depth = input_.channels,
                       .columns = output_.channels,
                       .left = mean,
                       .right = weight_.data(),
                       .result = skip});
    add_bias(output_.width, output_.channels, bias_.data(), skip);
    mean += row_size();
  }
}

void WinogradSkip::add(const float* skip, float* output) const {
  for (std::int64_t y = 0; y < output_.height; ++y, skip += output_.row_size()) {
    stanley::add(output_.row_size(), skip, output + output_.row(y));
  }
}

void WinogradSkip::add_gradient(const float* output, float* row, float* image) const {
  const Timed timed(Operation::products, flops());
  for (std::int64_t y = 0; y < output_.height; ++y) {
    const float* source = output + output_.row(y);
    if (!convolves_) {
      stanley::add(input_.row_size(), source, image + input_.row(y));
      continue;
    }
    multiply_matrices({.rows = output_.width,
                       .depth = output_.channels,
                       .columns = input_.channels,
                       .left = source,
                       .right = adjoint_.data(),
                       .result = row});
    add_to_squares(output_.width, input_.channels, row, image + input_.row(2 * y),
                   image + input_.row(2 * y + 1));
  }
}

void WinogradSkip::add_weight(const float* mean, const float* output, float* sum) const {
  const Timed timed(Operation::products, flops());
  for (std::int64_t y = 0; y < output_.height; ++y, mean += row_size()) {
    multiply_matrices({.rows = input_.channels,
                       .depth = output_.width,
                       .columns = output_.channels,
                       .left = mean,
                       .left_row = 1,
                       .left_term = input_.channels,
                       .right = output + output_.row(y),
                       .result = sum,
                       .adds = true});
  }
}

void WinogradSkip::finish(const float* sum, at::Tensor& weight) const {
  auto* to = weight.mutable_data_ptr<float>();
  for (std::int64_t o = 0; o < weight.size(0); ++o) {
    for (std::int64_t i = 0; i < weight.size(1); ++i) *to++ = sum[i * output_.channels + o];
  }
}

}  // namespace stanley
