#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/instruction_sets.hpp"

namespace stanley {

/// Tests of kernels, which run with each instruction set that the processor has.
class EachInstructionSet : public testing::TestWithParam<InstructionSet> {
 private:
  const ForcedInstructionSet forced_{GetParam()};
};

}  // namespace stanley

#define WITH_EACH_INSTRUCTION_SET(suite)                                     \
  INSTANTIATE_TEST_SUITE_P(                                                  \
      Sets, suite, testing::ValuesIn(stanley::processor_instruction_sets()), \
      [](const auto& set) { return std::string(stanley::name_of(set.param)); })
