#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "energy/convolution.hpp"
#include "energy/operation_times.hpp"
#include "energy/vectorized.hpp"

namespace stanley {
namespace {

using dnnl::memory;

class DirectConvolution : public Convolution<Bfloat16> {
 public:
  DirectConvolution(const ConvolutionLayer& layer, const ImageLayout& input,
                    const ImageLayout& output, std::int64_t block)
      : layer_(layer), image_(input), block_(block), engine_(dnnl::engine::kind::cpu, 0) {
    using tag = memory::format_tag;
    constexpr memory::data_type element = memory::data_type::bf16;
    const memory::dims stride{2, 2}, padding{1, 1};
    input_ = {{block, input.channels, input.height, input.width}, element, tag::nhwc};
    output_ = {{block, output.channels, output.height, output.width}, element, tag::nhwc};
    const memory::desc filter{{output.channels, input.channels, 4, 4}, element, tag::any};
    const memory::desc bias{{output.channels}, memory::data_type::f32, tag::a};
    // What the stride leaves over on the far side of an odd image is not padded.
    const memory::dims far{(output.height - 1) * 2 + 3 - input.height,
                           (output.width - 1) * 2 + 3 - input.width};
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::convolution_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, input_, filter,
         bias, output_, stride, padding, far},
        attributes, engine_);
    forward_ = dnnl::convolution_forward(forward);
    weights_forward_ = memory(forward.weights_desc(), engine_);
    scratch_forward_ = forward.scratchpad_desc();
    bias_ = memory(bias, engine_);
    // Filters that only fill up whole vectors must give zero, not what the memory happens to hold:
    // a NaN there would reach all others.
    std::fill_n(static_cast<float*>(bias_.get_data_handle()), output.channels, 0.0F);
    const dnnl::convolution_backward_data::primitive_desc backward(
        {dnnl::algorithm::convolution_direct, input_, filter, output_, stride, padding, far},
        attributes, engine_, forward);
    backward_ = dnnl::convolution_backward_data(backward);
    weights_backward_ = memory(backward.weights_desc(), engine_);
    scratch_backward_ = backward.scratchpad_desc();
  }

  void load(const float* weight, const float* bias) override {
    const memory::dims size = weights_forward_.get_desc().dims();
    std::vector<float> whole(static_cast<std::size_t>(size[0] * size[1] * 16));
    for (std::int64_t out = 0; out < layer_.out; ++out) {
      std::copy_n(weight + out * layer_.in * 16, layer_.in * 16,
                  whole.begin() + out * size[1] * 16);
    }
    memory source({size, memory::data_type::f32, memory::format_tag::oihw}, engine_, whole.data());
    dnnl::stream stream(engine_);
    for (memory* target : {&weights_forward_, &weights_backward_}) {
      dnnl::reorder(source, *target).execute(stream, source, *target);
    }
    stream.wait();
    std::copy_n(bias, layer_.out, static_cast<float*>(bias_.get_data_handle()));
  }

  void forward(const Bfloat16* input, Bfloat16* output, std::byte* scratch) const override {
    run(forward_, {{DNNL_ARG_SRC, view(input_, input)},
                   {DNNL_ARG_WEIGHTS, weights_forward_},
                   {DNNL_ARG_BIAS, bias_},
                   {DNNL_ARG_DST, view(output_, output)},
                   {DNNL_ARG_SCRATCHPAD, view(scratch_forward_, scratch)}});
  }

  void backward(const Bfloat16* output, const Bfloat16* derivative, Bfloat16* input,
                std::byte* scratch) const override {
    std::byte* rest = scratch + gradient_size();
    run(backward_, {{DNNL_ARG_DIFF_DST, view(output_, output)},
                    {DNNL_ARG_WEIGHTS, weights_backward_},
                    {DNNL_ARG_DIFF_SRC, view(input_, scratch)},
                    {DNNL_ARG_SCRATCHPAD, view(scratch_backward_, rest)}});
    const Timed timed(Operation::multiplications);
    multiply(block_ * image_.size(), reinterpret_cast<const Bfloat16*>(scratch), derivative, input);
  }

  std::int64_t group() const override { return block_; }
  std::size_t scratch_size() const override {
    return std::max(scratch_forward_.get_size(), gradient_size() + scratch_backward_.get_size());
  }

 private:
  /// Bytes of the inputs' gradient, in whole cache lines.
  std::size_t gradient_size() const {
    return static_cast<std::size_t>(block_ * image_.size()) * sizeof(Bfloat16);
  }

  /// oneDNN takes its constant inputs by pointers to what could be written.
  memory view(const memory::desc& layout, const void* data) const {
    return {layout, engine_, const_cast<void*>(data)};
  }

  void run(const dnnl::primitive& primitive,
           const std::unordered_map<int, memory>& arguments) const {
    const Timed timed(Operation::products);
    dnnl::stream stream(engine_);
    primitive.execute(stream, arguments);
    stream.wait();
  }

  ConvolutionLayer layer_;
  ImageLayout image_;  // of the input
  std::int64_t block_;
  dnnl::engine engine_;
  dnnl::convolution_forward forward_;
  dnnl::convolution_backward_data backward_;
  memory::desc input_, output_, scratch_forward_, scratch_backward_;
  memory weights_forward_, weights_backward_, bias_;
};

}  // namespace

ConvolutionChain<Bfloat16> make_direct_chain(const std::vector<ConvolutionLayer>& layers,
                                             std::int64_t block) {
  ConvolutionChain<Bfloat16> result;
  for (const ConvolutionLayer& layer : layers) {
    const ImageLayout input{layer.in_height, layer.in_width, whole_lanes(layer.in)};
    const ImageLayout output{layer.out_height, layer.out_width, whole_lanes(layer.out)};
    result.convolutions.push_back(std::make_unique<DirectConvolution>(layer, input, output, block));
    if (result.layouts.empty()) result.layouts.push_back(input);
    result.layouts.push_back(output);
  }
  return result;
}

}  // namespace stanley
