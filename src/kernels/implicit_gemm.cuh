#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/bfloat16.hpp"
#include "kernels/launch.cuh"

/// Convolutions as products of matrices that are never written out ("implicit GEMM"), on the tensor
/// cores: bfloat16 factors, float32 sums, and a function that gets the sums of eight channels of a
/// pixel at a time.
namespace stanley::implicit_gemm {

constexpr int piece = 8;  // elements that one instruction copies

/// Division of numbers below 2^31 by one that the host knows, as a multiplication.
class Divisor {
 public:
  Divisor() = default;
  explicit Divisor(int divisor) : divisor_(static_cast<unsigned>(divisor)) {
    while ((std::int64_t{1} << bits_) < divisor) ++bits_;
    const std::int64_t power = std::int64_t{1} << (31 + bits_);
    factor_ = static_cast<unsigned>((power + divisor - 1) / divisor);
  }

  /// number ← the remainder; the quotient.
  __device__ int divide(int& number) const {
    const auto all = static_cast<unsigned>(number);
    const unsigned quotient = divisor_ == 1 ? all : __umulhi(all, factor_) >> (bits_ - 1);
    number = static_cast<int>(all - quotient * divisor_);
    return static_cast<int>(quotient);
  }

 private:
  unsigned divisor_ = 1, factor_ = 0;
  int bits_ = 0;
};

/// Output pixels whose y and x leave one pair of remainders: rows of a product of matrices.
struct Phase {
  int y, x;              // the remainders
  int first_y, first_x;  // tap 0's input pixel, from `step` times the phase's own pixel
  int pixels;            // of all images
  Divisor by_height, by_width;
};

struct Pixel {
  int image, y, x;  // y and x among the phase's own
};

__device__ inline Pixel pixel_of(const Phase& phase, int row) {
  int line = phase.by_width.divide(row);
  const int image = phase.by_height.divide(line);
  return {image, line, row};
}

/// A convolution as a product of matrices: rows are output pixels, columns output channels, and the
/// sum goes over taps and input channels.
struct Product {
  const Bfloat16* input;   // [images, height, width, channels]
  const Bfloat16* weight;  // [phases, columns, side, side, channels]
  int images, height, width, channels;
  int columns;
  int side;    // of the square of taps
  int step;    // of the input pixels from one output pixel of a phase to the next
  int stride;  // of the output pixels of a phase
  int phases;  // stride²
  Phase phase[4];
};

/// The tile of one block of threads: rows × columns outputs, of which a warp has warp_rows ×
/// warp_columns; `depth` terms of the sums at a time, in `stages` buffers. A multiprocessor has
/// registers for `blocks` of them.
template <int rows_, int columns_, int warp_rows_, int warp_columns_, int depth_, int stages_,
          int blocks_>
struct Tile {
  static constexpr int rows = rows_, columns = columns_, warp_rows = warp_rows_,
                       warp_columns = warp_columns_, depth = depth_, stages = stages_,
                       blocks = blocks_;
  static constexpr int warps_down = rows / warp_rows;
  static constexpr int threads = 32 * warps_down * (columns / warp_columns);
  static constexpr int pitch = depth + piece;  // so that eight rows are in different banks
  static constexpr int stage = (rows + columns) * pitch;  // in elements
  static constexpr int sums_pitch = columns + 4;
  static constexpr int bytes_of_stages = stages * stage * 2, bytes_of_sums = rows * sums_pitch * 4;
  static constexpr int bytes = bytes_of_stages > bytes_of_sums ? bytes_of_stages : bytes_of_sums;
};

/// Where something stands in shared memory, in bytes.
using SharedAddress = unsigned;

__device__ inline SharedAddress shared_address(const void* pointer) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(pointer));
}

/// Copies 16 bytes, or zeros where `there` is false and `from` may be anywhere.
__device__ inline void copy_piece(SharedAddress to, const Bfloat16* from, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}

__device__ inline void end_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

/// Waits until at most `pending` of this thread's groups of copies are not done.
template <int pending>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(pending) : "memory");
}

/// Four matrices of 8×8, or two; lane l names row l % 8 of matrix l / 8.
__device__ inline void load_matrices(std::uint32_t (&out)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(row));
}
__device__ inline void load_matrices(std::uint32_t (&out)[2], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
               : "=r"(out[0]), "=r"(out[1])
               : "r"(row));
}

/// sums [16, 8] += a [16, 16] · b [16, 8].
__device__ inline void multiply_add(float (&sums)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// What one thread copies of each `depth` terms of the sums: the same 16 bytes of some rows.
template <typename Tile>
class Copies {
 public:
  static constexpr int pieces = Tile::depth / piece;  // of a row
  static constexpr int rows_at_once = Tile::threads / pieces;
  static constexpr int row_copies = Tile::rows / rows_at_once;
  static constexpr int column_copies = (Tile::columns + rows_at_once - 1) / rows_at_once;
  static_assert(Tile::rows % rows_at_once == 0);

  __device__ Copies(const Product& product, const Phase& phase, const Bfloat16* weight,
                    int first_row, int first_column, SharedAddress stages)
      : product_(product), row_(static_cast<int>(threadIdx.x) / pieces) {
    const int place = static_cast<int>(threadIdx.x) % pieces * piece;
    terms_ = product.side * product.side * product.channels;
    term_ = place;
    skip(place);
    to_ = stages + static_cast<unsigned>(2 * (row_ * Tile::pitch + place));
#pragma unroll
    for (int i = 0; i < row_copies; ++i) {
      const int row = first_row + row_ + i * rows_at_once;
      y_[i] = x_[i] = -(1 << 20);  // outside any image
      from_[i] = product.input;
      if (row >= phase.pixels) continue;
      const Pixel pixel = pixel_of(phase, row);
      y_[i] = product.step * pixel.y + phase.first_y;
      x_[i] = product.step * pixel.x + phase.first_x;
      from_[i] += ((std::int64_t{pixel.image} * product.height + y_[i]) * product.width + x_[i]) *
                  product.channels;
    }
    column_ = first_column + row_;
    weight_ = weight + std::int64_t{column_} * terms_ + place;
  }

  /// Copies the next `depth` terms to this stage.
  __device__ void run(int stage) {
    const bool any = term_ < terms_;
    const int tap = (tap_y_ * product_.width + tap_x_) * product_.channels + channel_;
    SharedAddress to = to_ + static_cast<unsigned>(2 * stage * Tile::stage);
#pragma unroll
    for (int i = 0; i < row_copies; ++i) {
      const bool inside =
          static_cast<unsigned>(y_[i] + tap_y_) < static_cast<unsigned>(product_.height) &&
          static_cast<unsigned>(x_[i] + tap_x_) < static_cast<unsigned>(product_.width);
      copy_piece(to + 2 * i * rows_at_once * Tile::pitch, from_[i] + tap, any && inside);
    }
    to += 2 * Tile::rows * Tile::pitch;
#pragma unroll
    for (int i = 0; i < column_copies; ++i) {
      const int column = i * rows_at_once;
      if (Tile::columns % rows_at_once != 0 && row_ + column >= Tile::columns) break;
      copy_piece(to + 2 * column * Tile::pitch, weight_ + std::int64_t{column} * terms_,
                 any && column_ + column < product_.columns);
    }
    weight_ += Tile::depth;
    term_ += Tile::depth;
    skip(Tile::depth);
  }

 private:
  /// Goes on by so many terms.
  __device__ void skip(int terms) {
    channel_ += terms;
    while (channel_ >= product_.channels) {
      channel_ -= product_.channels;
      if (++tap_x_ == product_.side) {
        tap_x_ = 0;
        ++tap_y_;
      }
    }
  }

  const Product& product_;
  int row_, column_, terms_, term_;
  int tap_y_ = 0, tap_x_ = 0, channel_ = 0;  // of the term
  SharedAddress to_;
  int y_[row_copies], x_[row_copies];  // of tap 0
  const Bfloat16* from_[row_copies];
  const Bfloat16* weight_;
};

/// Factors of a warp's products for 16 terms.
template <typename Tile>
struct Factors {
  static constexpr int rows = Tile::warp_rows / 16, columns = Tile::warp_columns / 8;
  std::uint32_t a[rows][4], b[columns][2];

  /// `of_a` and `of_b`: this lane's rows of the first matrices.
  __device__ void load(SharedAddress of_a, SharedAddress of_b) {
#pragma unroll
    for (int i = 0; i < rows; ++i) load_matrices(a[i], of_a + 2 * i * 16 * Tile::pitch);
    if constexpr (columns % 2 == 0) {
#pragma unroll
      for (int j = 0; j < columns; j += 2) {
        std::uint32_t two[4];
        load_matrices(two, of_b + 2 * j * 8 * Tile::pitch);
        b[j][0] = two[0];
        b[j][1] = two[1];
        b[j + 1][0] = two[2];
        b[j + 1][1] = two[3];
      }
    } else {
#pragma unroll
      for (int j = 0; j < columns; ++j) load_matrices(b[j], of_b + 2 * j * 8 * Tile::pitch);
    }
  }
};

/// A warp's part of a tile.
template <typename Tile>
class Sums {
 public:
  __device__ explicit Sums(SharedAddress stages) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    row_ = warp % Tile::warps_down * Tile::warp_rows;
    column_ = warp / Tile::warps_down * Tile::warp_columns;
    a_ = stages + static_cast<unsigned>(2 * ((row_ + lane % 16) * Tile::pitch + lane / 16 * 8));
    // Lanes 16 to 31 name the second of two matrices of columns, where there are two.
    const int of_lane = lane % 8 + (Factors<Tile>::columns % 2 == 0 ? lane / 16 * 8 : 0);
    b_ = stages + static_cast<unsigned>(
                      2 * ((Tile::rows + column_ + of_lane) * Tile::pitch + lane / 8 % 2 * 8));
  }

  /// Adds the products of one stage. The next factors are loaded while the last are multiplied.
  __device__ void add(int stage) {
    const auto first = static_cast<unsigned>(2 * stage * Tile::stage);
    Factors<Tile> factors[2];
    factors[0].load(a_ + first, b_ + first);
#pragma unroll
    for (int k = 0; k < Tile::depth / 16; ++k) {
      if (k + 1 < Tile::depth / 16) {
        factors[(k + 1) % 2].load(a_ + first + 32 * (k + 1), b_ + first + 32 * (k + 1));
      }
      const Factors<Tile>& current = factors[k % 2];
#pragma unroll
      for (int i = 0; i < Factors<Tile>::rows; ++i) {
#pragma unroll
        for (int j = 0; j < Factors<Tile>::columns; ++j) {
          multiply_add(sums_[i][j], current.a[i], current.b[j]);
        }
      }
    }
  }

  /// To their places in the tile [rows, sums_pitch].
  __device__ void store(float* tile) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float* to = tile + (row_ + lane / 4) * Tile::sums_pitch + column_ + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < Factors<Tile>::rows; ++i) {
#pragma unroll
      for (int j = 0; j < Factors<Tile>::columns; ++j) {
        float* upper = to + i * 16 * Tile::sums_pitch + j * 8;
        const float(&of)[4] = sums_[i][j];
        *reinterpret_cast<float2*>(upper) = make_float2(of[0], of[1]);
        *reinterpret_cast<float2*>(upper + 8 * Tile::sums_pitch) = make_float2(of[2], of[3]);
      }
    }
  }

 private:
  int row_, column_;
  SharedAddress a_, b_;
  float sums_[Factors<Tile>::rows][Factors<Tile>::columns][4] = {};
};

struct alignas(16) Eight {
  float at[piece];
};

/// Gives the tile's sums to `finish`.
template <typename Tile, typename Finish>
__device__ void finish_tile(const Product& product, const Phase& phase, int first_row,
                            int first_column, const float* tile, const Finish& finish) {
  constexpr int groups = Tile::columns / piece, rows_at_once = Tile::threads / groups;
  static_assert(Tile::threads % groups == 0);
  const int column = static_cast<int>(threadIdx.x) % groups * piece;
  if (first_column + column >= product.columns) return;
  const auto finish_group = finish.at_channel(first_column + column);
#pragma unroll
  for (int first = 0; first < Tile::rows; first += rows_at_once) {
    const int row = first + static_cast<int>(threadIdx.x) / groups;
    if (row >= Tile::rows || first_row + row >= phase.pixels) break;
    const Pixel pixel = pixel_of(phase, first_row + row);
    finish_group(*reinterpret_cast<const Eight*>(tile + row * Tile::sums_pitch + column),
                 pixel.image, product.stride * pixel.y + phase.y,
                 product.stride * pixel.x + phase.x);
  }
}

/// The product's outputs: blocks of threads along x for rows, y for columns, z for phases. What
/// finish.at_channel(c) returns is called with the sums of channels c to c + 7 of an output pixel,
/// and its image, y and x.
template <typename Tile, typename Finish>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks)
    convolve(const __grid_constant__ Product product, const __grid_constant__ Finish finish) {
  extern __shared__ __align__(16) float tile[];
  const SharedAddress stages = shared_address(tile);
  const Phase& phase = product.phase[blockIdx.z];
  const int first_row = static_cast<int>(blockIdx.x) * Tile::rows;
  const int first_column = static_cast<int>(blockIdx.y) * Tile::columns;
  if (first_row >= phase.pixels) return;

  const int terms = product.side * product.side * product.channels;
  const int turns = (terms + Tile::depth - 1) / Tile::depth;
  const Bfloat16* weight = product.weight + std::int64_t{blockIdx.z} * product.columns * terms;
  Copies<Tile> copies(product, phase, weight, first_row, first_column, stages);
#pragma unroll
  for (int i = 0; i < Tile::stages - 1; ++i) {
    if (i < turns) copies.run(i);
    end_copies();
  }
  Sums<Tile> sums(stages);
  int stage = 0;
  for (int turn = 0; turn < turns; ++turn) {
    wait_for_copies<Tile::stages - 2>();
    __syncthreads();  // this turn's stage is there, and all have read the one that is filled next
    const int filled = stage == 0 ? Tile::stages - 1 : stage - 1;
    if (turn + Tile::stages - 1 < turns) copies.run(filled);
    end_copies();
    sums.add(stage);
    stage = stage + 1 == Tile::stages ? 0 : stage + 1;
  }
  wait_for_copies<0>();
  __syncthreads();
  sums.store(tile);
  __syncthreads();
  finish_tile<Tile>(product, phase, first_row, first_column, tile, finish);
}

template <typename Tile, typename Finish>
void launch(const Product& product, const Finish& finish, cudaStream_t stream) {
  int pixels = 0;
  for (const Phase& phase : product.phase) pixels = std::max(pixels, phase.pixels);
  const auto blocks = [](int count, int size) {
    return static_cast<unsigned>((count + size - 1) / size);
  };
  const dim3 grid(blocks(pixels, Tile::rows), blocks(product.columns, Tile::columns),
                  static_cast<unsigned>(product.phases));
  check_launch("a convolution",
               cudaFuncSetAttribute(convolve<Tile, Finish>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::bytes));
  convolve<Tile, Finish><<<grid, Tile::threads, Tile::bytes, stream>>>(product, finish);
  check_launch("a convolution");
}

}  // namespace stanley::implicit_gemm
