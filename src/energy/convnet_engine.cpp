#include <ATen/ATen.h>
#include <omp.h>

#include "energy/convnet_pass.hpp"
#include "energy/gradient_engine.hpp"

namespace stanley {
namespace {

template <typename Element>
class ConvnetEngine : public GradientEngine {
 public:
  ConvnetEngine(const EnergyConfig& config, const StateShape& shape)
      : elements_(element_count(shape)), pass_(config, shape, false) {}

  void load(const std::vector<at::Tensor>& weights) override {
    std::vector<at::Tensor> flat;
    std::vector<const float*> data;
    for (const at::Tensor& weight : weights) {
      flat.push_back(weight.detach().contiguous());
      data.push_back(flat.back().const_data_ptr<float>());
    }
    pass_.load(data);
  }

  void evaluate(const at::Tensor& state, at::Tensor& energy, at::Tensor& gradient) override {
    const std::int64_t count = state.size(0);
    const auto* in = state.const_data_ptr<float>();
    auto* energies = energy.mutable_data_ptr<float>();
    auto* gradients = gradient.mutable_data_ptr<float>();
    const std::int64_t blocks = (count + convnet_block - 1) / convnet_block;
    const int threads = static_cast<int>(std::min<std::int64_t>(omp_get_max_threads(), blocks));
    while (workspaces_.size() < static_cast<std::size_t>(threads)) {
      workspaces_.push_back(pass_.make_workspace());
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t first = block * convnet_block;
      evaluate_block(workspaces_[static_cast<std::size_t>(omp_get_thread_num())],
                     std::min(convnet_block, count - first), in + first * elements_,
                     energies + first, gradients + first * elements_);
    }
  }

  bool batch_invariant() const override { return true; }

  std::string description() const override {
    return std::is_same_v<Element, float> ? "Winograd float32" : "oneDNN bfloat16";
  }

 private:
  using Workspace = typename ConvnetPass<Element>::Workspace;

  /// The first `count` (at most convnet_block) states; the rest of the block is computed from what
  /// the buffers hold, and dropped.
  void evaluate_block(Workspace& workspace, std::int64_t count, const float* state, float* energy,
                      float* gradient) const {
    pass_.forward(workspace, count, state);
    for (std::int64_t i = 0; i < convnet_block; ++i) {
      if (i < count) energy[i] = pass_.energy(workspace, i);
      pass_.start_backward(workspace, i);
    }
    pass_.backward(
        workspace, [](std::size_t, const Element*, const Element*) {},
        [&](std::int64_t i, const Element* image) {
          if (i < count) pass_.input().backward(workspace.input, image, gradient + i * elements_);
        });
  }

  std::int64_t elements_;
  ConvnetPass<Element> pass_;
  std::vector<Workspace> workspaces_;  // one for each thread
};

}  // namespace

std::unique_ptr<GradientEngine> make_convnet_engine(const EnergyConfig& config,
                                                    const StateShape& shape, Precision precision) {
  if (precision == Precision::bfloat16) {
    return std::make_unique<ConvnetEngine<Bfloat16>>(config, shape);
  }
  return std::make_unique<ConvnetEngine<float>>(config, shape);
}

}  // namespace stanley
