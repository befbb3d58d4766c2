#pragma once

#include <cstddef>
#include <oneapi/dnnl/dnnl.hpp>

#include "energy/one_thread.hpp"
#include "energy/operation_times.hpp"

namespace stanley {

/// sum ← sum + a·b for a batch of matrices in float32, by oneDNN on one thread.
class SummedProduct {
 public:
  /// a [batch, rows, depth] and b [batch or 1, depth, columns], as `strides` places them, and sum
  /// [batch, rows, columns] without gaps.
  SummedProduct(const dnnl::memory::dims& a, const dnnl::memory::dims& a_strides,
                const dnnl::memory::dims& b, const dnnl::memory::dims& b_strides)
      : engine_(dnnl::engine::kind::cpu, 0),
        a_(a, dnnl::memory::data_type::f32, a_strides),
        b_(b, dnnl::memory::data_type::f32, b_strides),
        sum_({a[0], a[1], b[2]}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::abc),
        flops_(2.0 * static_cast<double>(a[0] * a[1] * a[2] * b[2])) {
    const OneThread one_thread;  // oneDNN shares work out for the threads of this moment
    dnnl::post_ops add_to_sum;
    add_to_sum.append_sum();
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(add_to_sum);
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a_, b_, sum_), attributes,
                                                   engine_);
    product_ = dnnl::matmul(description);
    scratch_ = description.scratchpad_desc();
  }

  void add(const float* a, const float* b, float* sum, std::byte* scratch) const {
    const Timed timed(Operation::products, flops_);
    dnnl::stream stream(engine_);
    product_.execute(stream, {{DNNL_ARG_SRC, {a_, engine_, const_cast<float*>(a)}},
                              {DNNL_ARG_WEIGHTS, {b_, engine_, const_cast<float*>(b)}},
                              {DNNL_ARG_DST, {sum_, engine_, sum}},
                              {DNNL_ARG_SCRATCHPAD, {scratch_, engine_, scratch}}});
    stream.wait();
  }

  /// Bytes that add() needs.
  std::size_t scratch_size() const { return scratch_.get_size(); }

 private:
  dnnl::engine engine_;
  dnnl::memory::desc a_, b_, sum_, scratch_;
  dnnl::matmul product_;
  double flops_;
};

}  // namespace stanley
