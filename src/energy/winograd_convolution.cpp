#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>

#include "config/error.hpp"
#include "energy/convolution.hpp"
#include "energy/one_thread.hpp"
#include "energy/operation_times.hpp"
#include "energy/vectorized.hpp"
#include "energy/winograd.hpp"

namespace stanley {
namespace {

using dnnl::memory;

/// A batch of matrix products, one for each point: [point, rows, depth] × [point, depth, columns].
class PointProducts {
 public:
  PointProducts(std::int64_t points, std::int64_t rows, std::int64_t depth, std::int64_t columns,
                const dnnl::engine& engine)
      : engine_(engine),
        points_(points),
        depth_(depth),
        columns_(columns),
        flops_(2.0 * static_cast<double>(points * rows * depth * columns)) {
    using desc = memory::desc;
    constexpr memory::data_type f32 = memory::data_type::f32;
    const OneThread one_thread;  // oneDNN shares work out for the threads of this moment
    left_ = desc({points, rows, depth}, f32, memory::dims{winograd_stride(rows, depth), depth, 1});
    result_ = desc({points, rows, columns}, f32,
                   memory::dims{winograd_stride(rows, columns), columns, 1});
    const desc right({points, depth, columns}, f32, memory::format_tag::any);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(left_, right, result_),
                                                   attributes, engine_);
    product_ = dnnl::matmul(description);
    right_ = memory(description.weights_desc(), engine_);
    scratch_ = description.scratchpad_desc();
  }

  /// The right-hand matrices, [point, depth, columns] or, transposed, [point, columns, depth].
  void load(std::vector<float>& matrices, bool transposed) {
    memory source({{points_, depth_, columns_},
                   memory::data_type::f32,
                   transposed ? memory::format_tag::acb : memory::format_tag::abc},
                  engine_, matrices.data());
    dnnl::stream stream(engine_);
    dnnl::reorder(source, right_).execute(stream, source, right_);
    stream.wait();
  }

  void multiply(float* left, float* result, void* scratch) const {
    const Timed timed(Operation::products, flops_);
    dnnl::stream stream(engine_);
    product_.execute(stream, {{DNNL_ARG_SRC, {left_, engine_, left}},
                              {DNNL_ARG_WEIGHTS, right_},
                              {DNNL_ARG_DST, {result_, engine_, result}},
                              {DNNL_ARG_SCRATCHPAD, {scratch_, engine_, scratch}}});
    stream.wait();
  }

  std::size_t scratch_size() const { return scratch_.get_size(); }

 private:
  dnnl::engine engine_;
  std::int64_t points_, depth_, columns_;
  double flops_;
  memory::desc left_, result_, scratch_;
  memory right_;
  dnnl::matmul product_;
};

/// Whether equal rows of the left-hand matrices stay equal in the product, bit for bit.
bool treats_rows_alike(std::int64_t points, std::int64_t rows, std::int64_t depth,
                       std::int64_t columns, const dnnl::engine& engine) {
  PointProducts product(points, rows, depth, columns, engine);
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> number(-1, 1);
  std::vector<float> right(static_cast<std::size_t>(points * depth * columns));
  for (float& element : right) element = number(random);
  product.load(right, false);
  const std::int64_t left_stride = winograd_stride(rows, depth),
                     result_stride = winograd_stride(rows, columns);
  AlignedBuffer<float> left(points * left_stride), result(points * result_stride);
  AlignedBuffer<std::byte> scratch(static_cast<std::int64_t>(product.scratch_size()));
  for (std::int64_t point = 0; point < points; ++point) {
    float* row = left.data() + point * left_stride;
    std::generate_n(row, depth, [&] { return number(random); });
    for (std::int64_t i = 1; i < rows; ++i) std::copy_n(row, depth, row + i * depth);
  }
  product.multiply(left.data(), result.data(), scratch.data());
  for (std::int64_t point = 0; point < points; ++point) {
    const float* row = result.data() + point * result_stride;
    for (std::int64_t i = 1; i < rows; ++i) {
      if (!std::equal(row, row + columns, row + i * columns)) return false;
    }
  }
  return true;
}

/// The smallest count of rows from `least` on with which a row has the same bits wherever it
/// stands, in both directions. oneDNN doesn't promise it for any count, and with AVX2 its kernels
/// take the last two rows of some counts another way.
std::int64_t rows_alike(std::int64_t least, std::int64_t points, std::int64_t depth,
                        std::int64_t columns, const dnnl::engine& engine) {
  const OneThread one_thread;
  for (std::int64_t rows = least; rows < least + 64; ++rows) {
    if (treats_rows_alike(points, rows, depth, columns, engine) &&
        treats_rows_alike(points, rows, columns, depth, engine)) {
      return rows;
    }
  }
  throw Error(ExitCode::environment,
              "on this processor the matrix products of oneDNN give a chain's numbers other bits "
              "beside other chains; set run.device to another one, or use another oneDNN");
}

/// Images in a group: enough rows for the matrix products, and no more than stay in the cache; a
/// multiple of the group of the layer below.
std::int64_t group_of(const WinogradTiles& tiles, std::int64_t below, std::int64_t block) {
  std::int64_t group = block;
  while (group % (2 * below) == 0 && group / 2 * tiles.count() >= 64) group /= 2;
  return group;
}

class WinogradConvolution : public Convolution {
 public:
  WinogradConvolution(const ConvolutionLayer& layer, const WinogradTiles& tiles, std::int64_t group,
                      const dnnl::engine& engine)
      : layer_(layer),
        tiles_(tiles),
        group_(group),
        depth_(tiles.phases() * tiles.input.channels),
        columns_(tiles.output.channels),
        rows_(rows_alike(group * tiles.count(), tiles.points(), depth_, columns_, engine)),
        forward_(tiles.points(), rows_, depth_, columns_, engine),
        backward_(tiles.points(), rows_, columns_, depth_, engine),
        bias_(columns_) {}

  void load(const float* weight, const float* bias) override {
    std::vector<float> filter = winograd_filter(tiles_, layer_.out, layer_.in, weight);
    forward_.load(filter, false);
    backward_.load(filter, true);
    std::copy_n(bias, layer_.out, bias_.data());
  }

  void forward(const float* input, float* output, std::byte* scratch) const override {
    const Parts part = parts(scratch);
    for_each_image([&](std::int64_t i) {
      winograd_input(tiles_, input + i * tiles_.input.size(), input_stride(),
                     part.input + i * tiles_.count() * depth_);
    });
    forward_.multiply(part.input, part.output, part.rest);
    for_each_image([&](std::int64_t i) {
      winograd_output(tiles_, part.output + i * tiles_.count() * columns_, output_stride(),
                      bias_.data(), output + i * tiles_.output.size());
    });
  }

  void backward(const float* output, const float* derivative, float* input,
                std::byte* scratch) const override {
    const Parts part = parts(scratch);
    for_each_image([&](std::int64_t i) {
      winograd_output_adjoint(tiles_, output + i * tiles_.output.size(), output_stride(),
                              part.output + i * tiles_.count() * columns_);
    });
    backward_.multiply(part.output, part.input, part.rest);
    for_each_image([&](std::int64_t i) {
      winograd_input_adjoint(tiles_, part.input + i * tiles_.count() * depth_, input_stride(),
                             derivative + i * tiles_.input.size(), input + i * tiles_.input.size());
    });
  }

  std::int64_t group() const override { return group_; }
  std::size_t scratch_size() const override {
    return static_cast<std::size_t>(tiles_.points() * (input_stride() + output_stride())) *
               sizeof(float) +
           std::max(forward_.scratch_size(), backward_.scratch_size());
  }

 private:
  struct Parts {
    float *input, *output;
    void* rest;
  };

  template <typename Transform>
  void for_each_image(Transform transform) const {
    const Timed timed(Operation::transformations);
    for (std::int64_t i = 0; i < group_; ++i) transform(i);
  }

  std::int64_t input_stride() const { return winograd_stride(rows_, depth_); }
  std::int64_t output_stride() const { return winograd_stride(rows_, columns_); }

  Parts parts(std::byte* scratch) const {
    auto* input = reinterpret_cast<float*>(scratch);
    float* output = input + tiles_.points() * input_stride();
    return {input, output, output + tiles_.points() * output_stride()};
  }

  ConvolutionLayer layer_;
  WinogradTiles tiles_;
  std::int64_t group_, depth_, columns_;
  std::int64_t rows_;  // of the matrices, the last of which may serve no image
  PointProducts forward_, backward_;
  AlignedBuffer<float> bias_;
};

WinogradTiles tiles_of(const ConvolutionLayer& layer) {
  return winograd_tiles(layer.stride, layer.out_height, layer.out_width, layer.in * layer.out);
}

}  // namespace

ImageLayout winograd_layout(const ConvolutionLayer* writer, const ConvolutionLayer* reader) {
  ImageLayout layout{reader ? reader->in_height : writer->out_height,
                     reader ? reader->in_width : writer->out_width,
                     whole_lanes(reader ? reader->in : writer->out), 1};
  layout.rows = layout.height + 2;
  layout.columns = layout.width + 2;
  const auto reach = [&](std::int64_t rows, std::int64_t columns) {
    layout.rows = std::max(layout.rows, rows);
    layout.columns = std::max(layout.columns, columns);
  };
  if (reader) {
    const WinogradTiles tiles = tiles_of(*reader);
    reach(winograd_input_extent(tiles.stride, tiles.side, tiles.height),
          winograd_input_extent(tiles.stride, tiles.side, tiles.width));
  }
  if (writer) {
    const WinogradTiles tiles = tiles_of(*writer);
    reach(winograd_output_extent(tiles.side, tiles.height),
          winograd_output_extent(tiles.side, tiles.width));
  }
  return layout;
}

std::unique_ptr<Convolution> make_winograd_convolution(const ConvolutionLayer& layer,
                                                       const ImageLayout& input,
                                                       const ImageLayout& output,
                                                       std::int64_t least_group,
                                                       std::int64_t block) {
  WinogradTiles tiles = tiles_of(layer);
  tiles.input = input;
  tiles.output = output;
  return std::make_unique<WinogradConvolution>(layer, tiles, group_of(tiles, least_group, block),
                                               dnnl::engine(dnnl::engine::kind::cpu, 0));
}

ConvolutionChain make_winograd_chain(const std::vector<ConvolutionLayer>& layers,
                                     std::int64_t block) {
  const std::size_t count = layers.size();
  ConvolutionChain chain;
  for (std::size_t i = 0; i <= count; ++i) {
    chain.layouts.push_back(
        winograd_layout(i > 0 ? &layers[i - 1] : nullptr, i < count ? &layers[i] : nullptr));
  }
  std::int64_t group = 1;
  for (std::size_t i = 0; i < count; ++i) {
    chain.convolutions.push_back(
        make_winograd_convolution(layers[i], chain.layouts[i], chain.layouts[i + 1], group, block));
    group = chain.convolutions.back()->group();
  }
  return chain;
}

}  // namespace stanley
