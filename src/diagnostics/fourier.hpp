#pragma once

#include <cstddef>
#include <vector>

namespace stanley {

/// Discrete Fourier transforms of n = 2^k complex numbers, in place: real parts [n] and imaginary
/// parts [n]. Frequencies stand in the order of their reversed bits, which no power spectrum minds.
/// Our own, since a library's bits may depend on the threads and on where an array begins.
class Fourier {
 public:
  /// `size` is a power of two.
  explicit Fourier(std::size_t size);

  std::size_t size() const { return size_; }

  /// Σⱼ zⱼ·exp(−2πi·jk/n), by decimation in frequency.
  void forward(double* real, double* imaginary) const;

  /// n times the inverse of forward(), by decimation in time.
  void backward(double* real, double* imaginary) const;

 private:
  std::size_t size_;
  /// exp(−πi·j/h) at h + j, for h = 1, 2, 4, ... n/2 and j < h.
  std::vector<double> cosines_, sines_;
};

}  // namespace stanley
