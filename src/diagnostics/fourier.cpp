#include "diagnostics/fourier.hpp"

#include <cmath>
#include <numbers>

namespace stanley {

Fourier::Fourier(std::size_t size) : size_(size), cosines_(size), sines_(size) {
  for (std::size_t h = 1; h < size; h *= 2) {
    for (std::size_t j = 0; j < h; ++j) {
      const double angle = std::numbers::pi * static_cast<double>(j) / static_cast<double>(h);
      cosines_[h + j] = std::cos(angle);
      sines_[h + j] = -std::sin(angle);
    }
  }
}

void Fourier::forward(double* real, double* imaginary) const {
  for (std::size_t h = size_ / 2; h >= 1; h /= 2) {
    const double* const cosine = &cosines_[h];
    const double* const sine = &sines_[h];
    for (std::size_t first = 0; first < size_; first += 2 * h) {
      double* const a = real + first;
      double* const b = imaginary + first;
      for (std::size_t j = 0; j < h; ++j) {
        const double x = a[j] - a[h + j], y = b[j] - b[h + j];
        a[j] += a[h + j];
        b[j] += b[h + j];
        a[h + j] = x * cosine[j] - y * sine[j];
        b[h + j] = x * sine[j] + y * cosine[j];
      }
    }
  }
}

void Fourier::backward(double* real, double* imaginary) const {
  for (std::size_t h = 1; h < size_; h *= 2) {
    const double* const cosine = &cosines_[h];
    const double* const sine = &sines_[h];
    for (std::size_t first = 0; first < size_; first += 2 * h) {
      double* const a = real + first;
      double* const b = imaginary + first;
      for (std::size_t j = 0; j < h; ++j) {
        const double x = a[h + j] * cosine[j] + b[h + j] * sine[j];
        const double y = b[h + j] * cosine[j] - a[h + j] * sine[j];
        a[h + j] = a[j] - x;
        b[h + j] = b[j] - y;
        a[j] += x;
        b[j] += y;
      }
    }
  }
}

}  // namespace stanley
