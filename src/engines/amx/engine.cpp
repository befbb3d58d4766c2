#include <ATen/ATen.h>

#include <algorithm>

#include "engines/amx/pass.hpp"
#include "engines/factory.hpp"
#include "engines/state_blocks.hpp"

namespace stanley {
namespace {

class AmxEngine : public GradientEngine {
 public:
  explicit AmxEngine(const Plan& plan) : height_(plan.layers[0].height), pass_(plan, false) {}

  void load(const std::vector<at::Tensor>& weights) override { pass_.load(weights); }

  void evaluate(const Points& points, at::Tensor& energy, at::Tensor* gradient) override {
    const StateBatch batch(points.state, energy, gradient);
    const std::int64_t threads = loop_threads(),
                       blocks = (batch.count + tile_images - 1) / tile_images,
                       alone = BlockPlan::of(blocks, threads, 0).alone;
    fill_up(scratch_, threads, [&] { return pass_.make_scratch(); });
    fill_up(workspaces_, std::clamp<std::int64_t>(alone, 1, threads),
            [&] { return pass_.make_workspace(false); });
    fill_up(shared_, blocks - alone, [&] { return pass_.make_workspace(true); });
#pragma omp parallel num_threads(static_cast <int>(threads))
    {
      const std::int64_t thread = omp_get_thread_num(), given = omp_get_num_threads();
      Scratch& scratch = scratch_[static_cast<std::size_t>(thread)];
      // OpenMP may give fewer threads than it is asked for: nobody then waits for the others.
      const BlockPlan plan =
          given == threads ? BlockPlan::of(blocks, threads, thread) : BlockPlan{blocks, -1, {}};
      const std::int64_t step = std::min(given, static_cast<std::int64_t>(workspaces_.size()));
      for (std::int64_t i = thread; i < plan.alone && thread < step; i += step) {
        evaluate_block(batch, i, {}, scratch, workspaces_[static_cast<std::size_t>(thread)]);
      }
      if (plan.shared >= 0) {
        evaluate_block(batch, plan.shared, plan.share, scratch,
                       shared_[static_cast<std::size_t>(plan.shared - plan.alone)]);
      }
    }
  }

  double energy_error() const override { return bfloat16_energy_error; }
  bool batch_invariant() const override { return true; }

  /// The rows of a block are what threads share.
  int working_threads(std::int64_t states) const override {
    const std::int64_t blocks = (states + tile_images - 1) / tile_images;
    const bool shared = BlockPlan::of(blocks, loop_threads(), 0).shared >= 0;
    return static_cast<int>(
        std::min<std::int64_t>(loop_threads(), shared ? blocks * height_ : blocks));
  }

  std::string description() const override {
    return instruction_set() == InstructionSet::amx ? "AMX tiles bfloat16"
                                                    : "tiles by vectors bfloat16";
  }

 private:
  using Scratch = AmxPass::Scratch;
  using Workspace = AmxPass::Workspace;

  void evaluate_block(const StateBatch& batch, std::int64_t block, const Share& share,
                      Scratch& scratch, Workspace& workspace) const {
    const std::int64_t first = block * tile_images;
    const StateBatch part = batch.part(first, std::min(first + tile_images, batch.count));
    const AmxTiles tiles;
    const AmxPass::Task task{tiles, share, scratch, workspace};
    pass_.forward(task, part.count, part.states);
    if (share.rank == 0) std::copy_n(workspace.energies.begin(), part.count, part.energies);
    if (part.gradients != nullptr) pass_.backward(task, part.gradients);
  }

  std::int64_t height_;
  AmxPass pass_;
  std::vector<Scratch> scratch_;       // one for each thread
  std::vector<Workspace> workspaces_;  // one for each block that a thread works on alone
  std::vector<Workspace> shared_;      // one for each that threads share
};

}  // namespace

std::unique_ptr<GradientEngine> make_amx_engine(const Plan& plan) {
  return std::make_unique<AmxEngine>(plan);
}

}  // namespace stanley
