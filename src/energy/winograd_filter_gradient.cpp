#include <oneapi/dnnl/dnnl.hpp>

#include "energy/convolution.hpp"
#include "energy/one_thread.hpp"
#include "energy/vectorized.hpp"
#include "energy/winograd.hpp"

namespace stanley {
namespace {

using dnnl::memory;

/// Winograd's sums are matrix products of inputs and output gradients, one for each point, before
/// the adjoint of the filters' transformation, which waits until all images are in: [point, phase,
/// input.channels, output.channels], and behind them the bias's.
class WinogradFilterGradient : public FilterGradient {
 public:
  WinogradFilterGradient(const ConvolutionLayer& layer, const WinogradTiles& tiles,
                         std::int64_t group)
      : layer_(layer),
        tiles_(tiles),
        group_(group),
        depth_(tiles.phases() * tiles.input.channels),
        columns_(tiles.output.channels),
        engine_(dnnl::engine::kind::cpu, 0) {
    constexpr memory::data_type f32 = memory::data_type::f32;
    const OneThread one_thread;  // oneDNN shares work out for the threads of this moment
    const std::int64_t points = tiles.points();
    input_ = {{points, depth_, rows()}, f32, memory::dims{input_stride(), 1, depth_}};
    output_ = {{points, rows(), columns_}, f32, memory::dims{output_stride(), columns_, 1}};
    sum_ = {{points, depth_, columns_}, f32, memory::format_tag::abc};
    dnnl::post_ops add_to_sum;
    add_to_sum.append_sum();
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(add_to_sum);
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(input_, output_, sum_),
                                                   attributes, engine_);
    product_ = dnnl::matmul(description);
    scratch_ = description.scratchpad_desc();
  }

  std::int64_t sum_size() const override { return tiles_.points() * depth_ * columns_ + columns_; }

  void add(const float* input, const float* output, float* sum, std::byte* scratch) const override {
    auto* inputs = reinterpret_cast<float*>(scratch);
    float* outputs = inputs + tiles_.points() * input_stride();
    float* bias = sum + tiles_.points() * depth_ * columns_;
    const ImageLayout& layout = tiles_.output;
    for (std::int64_t i = 0; i < group_; ++i) {
      winograd_input(tiles_, input + i * tiles_.input.size(), input_stride(),
                     inputs + i * tiles_.count() * depth_);
      winograd_output_adjoint(tiles_, output + i * layout.size(), output_stride(),
                              outputs + i * tiles_.count() * columns_);
      for (std::int64_t y = 0; y < layout.height; ++y) {
        add_pixels(layout.width, columns_, output + i * layout.size() + layout.row(y), bias);
      }
    }
    float* rest = outputs + tiles_.points() * output_stride();
    dnnl::stream stream(engine_);
    product_.execute(stream, {{DNNL_ARG_SRC, {input_, engine_, inputs}},
                              {DNNL_ARG_WEIGHTS, {output_, engine_, outputs}},
                              {DNNL_ARG_DST, {sum_, engine_, sum}},
                              {DNNL_ARG_SCRATCHPAD, {scratch_, engine_, rest}}});
    stream.wait();
  }

  void finish(const float* sum, float* weight, float* bias) const override {
    winograd_filter_adjoint(tiles_, layer_.out, layer_.in, sum, weight);
    std::copy_n(sum + tiles_.points() * depth_ * columns_, layer_.out, bias);
  }

  std::size_t scratch_size() const override {
    return static_cast<std::size_t>(tiles_.points() * (input_stride() + output_stride())) *
               sizeof(float) +
           scratch_.get_size();
  }

 private:
  std::int64_t rows() const { return group_ * tiles_.count(); }
  std::int64_t input_stride() const { return winograd_stride(rows(), depth_); }
  std::int64_t output_stride() const { return winograd_stride(rows(), columns_); }

  ConvolutionLayer layer_;
  WinogradTiles tiles_;
  std::int64_t group_, depth_, columns_;
  dnnl::engine engine_;
  memory::desc input_, output_, sum_, scratch_;
  dnnl::matmul product_;
};

}  // namespace

std::unique_ptr<FilterGradient> make_winograd_filter_gradient(const ConvolutionLayer& layer,
                                                              const ImageLayout& input,
                                                              const ImageLayout& output,
                                                              std::int64_t group) {
  WinogradTiles tiles = winograd_tiles(layer.stride, layer.out_height, layer.out_width);
  tiles.input = input;
  tiles.output = output;
  return std::make_unique<WinogradFilterGradient>(layer, tiles, group);
}

}  // namespace stanley
