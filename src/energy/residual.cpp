#include "energy/residual.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "energy/images.hpp"
#include "energy/matrix_product.hpp"
#include "energy/operation_times.hpp"

namespace stanley {
namespace {

template <typename Visit>
void for_each_group(const Convolution& convolution, std::int64_t count, Visit visit) {
  for (std::int64_t i = 0; i < count; i += convolution.group()) visit(i);
}

}  // namespace

at::Tensor with_mean(const at::Tensor& weight) {
  // Tap by tap: so short rows as the taps of a filter are slow to go through.
  const std::int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor taps = weight.reshape({out * in, 9}).t().contiguous().view({3, 3, out, in});
  at::Tensor sum = at::zeros({4, 4, out, in}, weight.options());
  for (std::int64_t y = 0; y < 2; ++y) {
    for (std::int64_t x = 0; x < 2; ++x) sum.narrow(0, y, 3).narrow(1, x, 3).add_(taps, 0.25);
  }
  return sum.permute({2, 3, 0, 1}).contiguous();
}

at::Tensor adjoint_of_mean(const at::Tensor& gradient) {
  at::Tensor sum = gradient.narrow(2, 0, 3).narrow(3, 0, 3) * 0.25;
  for (std::int64_t i = 1; i < 4; ++i) {
    sum.add_(gradient.narrow(2, i / 2, 3).narrow(3, i % 2, 3), 0.25);
  }
  return sum;
}

Residual::Residual(const ResidualBlock& shape, const ImageLayout& input, const ImageLayout& output,
                   std::int64_t block, std::int64_t least_rows)
    : shape_(shape), input_(input), output_(output), block_(block) {
  const ConvolutionLayer first = first_layer(shape), second = second_layer(shape);
  middle_ = winograd_layout(&first, &second);
  first_ = make_winograd_convolution(first, input_, middle_, 1, block_, least_rows);
  second_ = make_winograd_convolution(second, middle_, output_, 1, block_, least_rows);
}

ConvolutionLayer Residual::first_layer(const ResidualBlock& shape) {
  return {.in = shape.in,
          .out = shape.out,
          .kernel_height = 3,
          .kernel_width = 3,
          .stride = 1,
          .padding = 1,
          .in_height = shape.height,
          .in_width = shape.width,
          .out_height = shape.height,
          .out_width = shape.width};
}

ConvolutionLayer Residual::second_layer(const ResidualBlock& shape) {
  ConvolutionLayer layer = first_layer(shape);
  layer.in = shape.out;
  if (!shape.halves) return layer;
  layer.kernel_height = layer.kernel_width = 4;
  layer.stride = 2;
  layer.out_height /= 2;
  layer.out_width /= 2;
  return layer;
}

Residual::Workspace Residual::make_workspace() const {
  return {AlignedBuffer<float>(input_.size() * block_),
          AlignedBuffer<float>(middle_.size() * block_),
          AlignedBuffer<float>(middle_.size() * block_), AlignedBuffer<float>(skip_size() * block_),
          AlignedBuffer<float>(mean_size() * block_)};
}

std::int64_t Residual::row_size() const { return input_.channels * output_.width; }

std::size_t Residual::scratch_size() const {
  return std::max(first_->scratch_size(), second_->scratch_size());
}

const float* const* Residual::load(const float* const* weight) {
  first_->load(weight[0], weight[1]);
  if (!shape_.halves) {
    second_->load(weight[2], weight[3]);
    return weight + 4;
  }
  const at::Tensor filters =
      at::from_blob(const_cast<float*>(weight[2]), {shape_.out, shape_.out, 3, 3});
  second_->load(with_mean(filters).const_data_ptr<float>(), weight[3]);
  load_skip(weight[4], weight[5]);
  return weight + 6;
}

/// weight [out, in, 1, 1], bias [out].
void Residual::load_skip(const float* weight, const float* bias) {
  skip_weight_ = AlignedBuffer<float>(input_.channels * output_.channels);
  skip_adjoint_ = AlignedBuffer<float>(output_.channels * input_.channels);
  skip_bias_ = AlignedBuffer<float>(output_.channels);
  for (std::int64_t o = 0; o < shape_.out; ++o) {
    for (std::int64_t i = 0; i < shape_.in; ++i) {
      const float value = weight[o * shape_.in + i];
      skip_weight_.data()[i * output_.channels + o] = value;
      skip_adjoint_.data()[o * input_.channels + i] = value;
    }
  }
  std::copy_n(bias, shape_.out, skip_bias_.data());
}

void Residual::forward(Workspace& workspace, const EnergyConfig& config, std::int64_t count,
                       float* hidden, float* out, std::byte* scratch) const {
  float *middle = workspace.middle.data(), *skip = workspace.skip.data();
  for (std::int64_t i = 0; i < count; ++i) {
    keep_skip(hidden + i * input_.size(), workspace.mean.data() + i * mean_size(),
              skip + i * skip_size());
  }
  for_each_group(*first_, count, [&](std::int64_t i) {
    const std::int64_t images = std::min(first_->group(), count - i), in = i * input_.size(),
                       at = i * middle_.size();
    activate_images(config, input_, images, hidden + in, workspace.input_derivative.data() + in);
    first_->forward(images, hidden + in, middle + at, scratch);
    activate_images(config, middle_, images, middle + at, workspace.middle_derivative.data() + at);
  });
  for_each_group(*second_, count, [&](std::int64_t i) {
    second_->forward(std::min(second_->group(), count - i), middle + i * middle_.size(),
                     out + i * output_.size(), scratch);
  });
  for_each_row(output_, count, [&](std::int64_t row) {
    add(output_.row_size(), skip, out + row);
    skip += output_.row_size();
  });
}

void Residual::backward(Workspace& workspace, std::int64_t count, const float* out, float* hidden,
                        Scratch scratch, const VisitGroup& visit) const {
  const auto backward = [&](const Convolution& convolution, const ImageLayout& layout,
                            const float* output, std::int64_t output_size, const float* derivative,
                            float* input) {
    for_each_group(convolution, count, [&](std::int64_t i) {
      const std::int64_t at = i * layout.size();
      visit(&convolution == second_.get(), input + at, output + i * output_size);
      convolution.backward(std::min(convolution.group(), count - i), output + i * output_size,
                           derivative + at, input + at, scratch.bytes);
    });
  };
  float* middle = workspace.middle.data();
  backward(*second_, middle_, out, output_.size(), workspace.middle_derivative.data(), middle);
  backward(*first_, input_, middle, middle_.size(), workspace.input_derivative.data(), hidden);
  for (std::int64_t i = 0; i < count; ++i) {
    add_skip(out + i * output_.size(), scratch.row, hidden + i * input_.size());
  }
}

Residual::FilterGradients Residual::make_filter_gradients() const {
  return {make_filter_gradient(first_layer(shape_), input_, middle_, first_->group()),
          make_filter_gradient(second_layer(shape_), middle_, output_, second_->group())};
}

void Residual::add_skip_weights(const Workspace& workspace, std::int64_t count, const float* out,
                                float* sum) const {
  if (!shape_.halves) return;
  const Timed timed(Operation::products, static_cast<double>(count) * skip_flops());
  const float* mean = workspace.mean.data();
  for_each_row(output_, count, [&](std::int64_t row) {
    multiply({.rows = input_.channels,
              .depth = output_.width,
              .columns = output_.channels,
              .left = mean,
              .left_row = 1,
              .left_term = input_.channels,
              .right = out + row,
              .result = sum,
              .adds = true});
    mean += output_.width * input_.channels;
  });
}

void Residual::finish_skip(const float* sum, float* weight) const {
  for (std::int64_t o = 0; o < shape_.out; ++o) {
    for (std::int64_t i = 0; i < shape_.in; ++i) *weight++ = sum[i * output_.channels + o];
  }
}

/// What the skip connection makes of one image of the input.
void Residual::keep_skip(const float* image, float* mean, float* skip) const {
  const Timed timed(Operation::products, skip_flops());
  for (std::int64_t y = 0; y < output_.height; ++y) {
    float* target = skip + y * output_.row_size();
    if (!shape_.halves) {
      std::copy_n(image + input_.row(y), input_.row_size(), target);
      continue;
    }
    float* means = mean + y * output_.width * input_.channels;
    mean_of_squares(output_.width, input_.channels, image + input_.row(2 * y),
                    image + input_.row(2 * y + 1), means);
    multiply({.rows = output_.width,
              .depth = input_.channels,
              .columns = output_.channels,
              .left = means,
              .right = skip_weight_.data(),
              .result = target});
    for (std::int64_t x = 0; x < output_.width; ++x) {
      add(output_.channels, skip_bias_.data(), target + x * output_.channels);
    }
  }
}

/// Adds the gradient that comes through the skip connection; `row` has room for one.
void Residual::add_skip(const float* out, float* row, float* hidden) const {
  const Timed timed(Operation::products, skip_flops());
  for (std::int64_t y = 0; y < output_.height; ++y) {
    const float* source = out + output_.row(y);
    if (!shape_.halves) {
      add(input_.row_size(), source, hidden + input_.row(y));
      continue;
    }
    multiply({.rows = output_.width,
              .depth = output_.channels,
              .columns = input_.channels,
              .left = source,
              .right = skip_adjoint_.data(),
              .result = row});
    add_to_squares(output_.width, input_.channels, row, hidden + input_.row(2 * y),
                   hidden + input_.row(2 * y + 1));
  }
}

}  // namespace stanley
