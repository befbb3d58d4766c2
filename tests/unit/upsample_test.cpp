#include "chains/upsample.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace stanley {
namespace {

TEST(Upsample, IsBilinear) {
  at::manual_seed(1);
  const at::Tensor images = at::rand({5, 3, 7, 4}) * 2 - 1;
  const at::Tensor large = upsample_twice(images);
  EXPECT_EQ(large.sizes().vec(), (std::vector<std::int64_t>{5, 3, 14, 8}));
  const at::Tensor expected = at::upsample_bilinear2d(images, {14, 8}, /*align_corners=*/false);
  EXPECT_LT((large - expected).abs().max().item<double>(), 1e-6);
  EXPECT_LE(large.max().item<double>(), images.max().item<double>());
}

TEST(Upsample, IsAFunctionOfEachImageAlone) {
  const at::Tensor images = at::rand({64, 1, 8, 8});
  const at::Tensor large = upsample_twice(images);
  for (const std::int64_t first : {0, 17, 63}) {
    EXPECT_TRUE(at::equal(upsample_twice(images.narrow(0, first, 1)), large.narrow(0, first, 1)));
  }
  const at::Tensor turned = upsample_twice(images.transpose(2, 3)).transpose(2, 3);
  EXPECT_LT((turned - large).abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace stanley
