#include "evaluation/feature_cache.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <string_view>

#include "config/error.hpp"
#include "config/files.hpp"
#include "run/directory.hpp"
#include "storage/digest.hpp"

namespace stanley {
namespace {

constexpr std::size_t digest_digits = 16;  // stand before the numbers

}  // namespace

FeatureCache::FeatureCache(const std::string& data, const std::string& depends_on,
                           const std::string& kind)
    : path_(fmt::format("{}.features/{}{}", data, digest_text(depends_on), kind)) {}

std::optional<at::Tensor> FeatureCache::read(at::IntArrayRef shape, at::ScalarType type) const {
  const std::optional<std::string> bytes = read_file(path_);
  const at::Tensor numbers = at::empty(shape, type);
  if (!bytes || bytes->size() != digest_digits + numbers.nbytes()) return std::nullopt;
  const std::string_view rest = std::string_view(*bytes).substr(digest_digits);
  if (digest_text(rest) != std::string_view(*bytes).substr(0, digest_digits)) return std::nullopt;
  std::memcpy(numbers.mutable_data_ptr(), rest.data(), rest.size());
  return numbers;
}

void FeatureCache::write(const at::Tensor& numbers) const {
  std::error_code failure;
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  std::filesystem::create_directories(folder, failure);
  if (failure)
    throw FileError(fmt::format("{} can't be made ({})", folder.string(), failure.message()));
  const at::Tensor whole = numbers.contiguous();
  const std::string bytes(static_cast<const char*>(whole.const_data_ptr()), whole.nbytes());
  replace_shared_file(path_, digest_text(bytes) + bytes);
}

}  // namespace stanley
