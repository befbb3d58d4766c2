#include <charconv>
#include <cstdint>
#include <string_view>
#include <system_error>

#include "config/document.hpp"

namespace stanley {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// What stands behind the sign, if it starts as a decimal number does: 0, 0.5, .5, 12, but not 012.
bool starts_as_decimal(std::string_view text) {
  if (text.starts_with('+') || text.starts_with('-')) {
    text.remove_prefix(1);
  }
  if (text.empty() || !(is_digit(text[0]) || text[0] == '.')) {
    return false;
  }
  return text[0] != '0' || text.size() == 1 || !is_digit(text[1]);
}

}  // namespace

// std::from_chars of the whole text; it knows no plus sign.
template <typename Number>
std::optional<Number> as(const std::string& text) {
  if (!starts_as_decimal(text)) {
    return std::nullopt;
  }
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* end = text.data() + text.size();
  Number value{};
  const auto [stop, error] = std::from_chars(begin, end, value);
  return error == std::errc{} && stop == end ? std::optional(value) : std::nullopt;
}

template std::optional<std::int64_t> as(const std::string&);
template std::optional<double> as(const std::string&);

std::optional<bool> as_bool(const std::string& text) {
  if (text == "true" || text == "false") {
    return text == "true";
  }
  return std::nullopt;
}

bool reads_as_text(const std::string& text) {
  return !text.empty() && text != "~" && text != "null" && text != "Null" && text != "NULL" &&
         !as_bool(text) && !as<double>(text);
}

}  // namespace stanley
