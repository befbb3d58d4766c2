#include "config/printable.hpp"

#include <fmt/format.h>

namespace stanley {

std::string printable(std::string_view text) {
  std::string shown;
  for (const char character : text) {
    const auto code = static_cast<unsigned char>(character);
    if (code >= 0x20 && code != 0x7f) {
      shown += character;
    } else {
      shown += fmt::format("\\x{:02x}", code);
    }
  }
  return shown;
}

}  // namespace stanley
