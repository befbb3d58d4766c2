#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "config/config.hpp"

namespace stanley {
namespace {

// Tests run in the root of the checkout.
TEST(Readme, HoldsTheReferenceOfTheConfiguration) {
  std::ifstream file("configs/README.md");
  std::ostringstream text;
  text << file.rdbuf();
  ASSERT_FALSE(text.str().empty()) << "configs/README.md is not in the working directory";
  EXPECT_NE(text.str().find(configuration_reference()), std::string::npos)
      << "configs/README.md must hold this table:\n"
      << configuration_reference();
}

}  // namespace
}  // namespace stanley
