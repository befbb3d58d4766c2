#include <algorithm>
#include <array>
#include <cstring>

#include "config/error.hpp"
#include "storage/hdf5.hpp"

// The attributes of storage/hdf5.hpp.

namespace stanley::hdf5 {
namespace {

Handle text_type() {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), H5T_VARIABLE);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  return type;
}

void write_scalar(hid_t object, const std::string& name, hid_t type, const void* value) {
  const auto describe = [&] { return "write attribute '" + name + "'"; };
  const Handle space(check(H5Screate(H5S_SCALAR), describe), H5Sclose);
  const Handle attribute(
      check(H5Acreate2(object, name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT), describe),
      H5Aclose);
  check(H5Awrite(attribute.id(), type, value), describe);
}

/// "attribute 'NAME' of '/train' of FILE", as messages name it.
std::string described(hid_t object, const std::string& name) {
  const auto text = [&](const auto& ask) {
    std::string found(static_cast<std::size_t>(std::max<ssize_t>(ask(nullptr, 0), 0)), '\0');
    ask(found.data(), found.size() + 1);
    return found;
  };
  return "attribute '" + name + "' of '" +
         text([&](char* out, std::size_t size) { return H5Iget_name(object, out, size); }) +
         "' of " +
         text([&](char* out, std::size_t size) { return H5Fget_name(object, out, size); });
}

std::optional<Handle> open_attribute(hid_t object, const std::string& name) {
  if (H5Aexists(object, name.c_str()) <= 0) return std::nullopt;
  return Handle(check(H5Aopen(object, name.c_str(), H5P_DEFAULT),
                      [&] { return "read " + described(object, name); }),
                H5Aclose);
}

std::size_t element_count(const Handle& attribute) {
  const Handle space(H5Aget_space(attribute.id()), H5Sclose);
  return static_cast<std::size_t>(std::max<hssize_t>(H5Sget_simple_extent_npoints(space.id()), 0));
}

[[noreturn]] void wrong_kind(hid_t object, const std::string& name, const char* expected) {
  throw FileError(described(object, name) + " is not " + expected);
}

template <typename Value>
std::optional<std::vector<Value>> read_values(hid_t object, const std::string& name, hid_t type) {
  const auto attribute = open_attribute(object, name);
  if (!attribute) return std::nullopt;
  const Handle stored(H5Aget_type(attribute->id()), H5Tclose);
  const H5T_class_t kind = H5Tget_class(stored.id());
  if (kind != H5T_INTEGER && kind != H5T_FLOAT) wrong_kind(object, name, "a number");
  std::vector<Value> values(element_count(*attribute));
  // HDF5 wants memory to read to even where there is nothing to read.
  if (values.empty()) return values;
  check(H5Aread(attribute->id(), type, values.data()),
        [&] { return "read " + described(object, name); });
  return values;
}

template <typename Value>
std::optional<Value> first_of(const std::optional<std::vector<Value>>& values) {
  return values && !values->empty() ? std::optional(values->front()) : std::nullopt;
}

std::vector<std::string> read_variable_texts(const Handle& attribute, std::size_t count,
                                             const Handle& stored) {
  std::vector<char*> pointers(count, nullptr);
  const Handle type = text_type();
  H5Tset_cset(type.id(), H5Tget_cset(stored.id()));
  check(H5Aread(attribute.id(), type.id(), pointers.data()), [] { return "read an attribute"; });
  std::vector<std::string> texts;
  for (const char* pointer : pointers) texts.emplace_back(pointer == nullptr ? "" : pointer);
  const Handle space(H5Aget_space(attribute.id()), H5Sclose);
  H5Dvlen_reclaim(type.id(), space.id(), H5P_DEFAULT, pointers.data());
  return texts;
}

std::vector<std::string> read_fixed_texts(const Handle& attribute, std::size_t count,
                                          const Handle& stored) {
  const std::size_t length = H5Tget_size(stored.id());
  std::vector<char> bytes(count * length);
  check(H5Aread(attribute.id(), stored.id(), bytes.data()), [] { return "read an attribute"; });
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    const char* text = bytes.data() + i * length;
    texts.emplace_back(text, strnlen(text, length));
  }
  return texts;
}

herr_t collect_name(hid_t, const char* name, const H5A_info_t*, void* names) {
  static_cast<std::vector<std::string>*>(names)->emplace_back(name);
  return 0;
}

}  // namespace

Handle open_object(const File& file, const std::string& name) {
  return Handle(check(H5Oopen(file.id(), name.c_str(), H5P_DEFAULT),
                      [&] { return "read '" + name + "' of " + file.path(); }),
                H5Oclose);
}

std::vector<std::string> attribute_names(hid_t object) {
  std::vector<std::string> names;
  check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect_name, &names),
        [] { return "list the attributes"; });
  return names;
}

void write_attribute(hid_t object, const std::string& name, const std::string& text) {
  const char* pointer = text.c_str();
  const Handle type = text_type();
  write_scalar(object, name, type.id(), &pointer);
}

void write_fixed_text(hid_t object, const std::string& name, const std::string& text) {
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), std::max<std::size_t>(text.size(), 1));
  H5Tset_strpad(type.id(), H5T_STR_NULLPAD);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  write_scalar(object, name, type.id(), text.c_str());
}

void write_attribute(hid_t object, const std::string& name,
                     const std::variant<std::int64_t, std::uint64_t, double>& number) {
  const std::array types{H5T_NATIVE_INT64, H5T_NATIVE_UINT64, H5T_NATIVE_DOUBLE};
  std::visit(
      [&](const auto& value) { write_scalar(object, name, types.at(number.index()), &value); },
      number);
}

std::optional<std::vector<std::string>> read_texts(hid_t object, const std::string& name) {
  const auto attribute = open_attribute(object, name);
  if (!attribute) return std::nullopt;
  const Handle stored(H5Aget_type(attribute->id()), H5Tclose);
  if (H5Tget_class(stored.id()) != H5T_STRING) wrong_kind(object, name, "a text");
  const std::size_t count = element_count(*attribute);
  if (count == 0) return std::vector<std::string>{};
  return H5Tis_variable_str(stored.id()) > 0 ? read_variable_texts(*attribute, count, stored)
                                             : read_fixed_texts(*attribute, count, stored);
}

std::optional<std::string> read_text(hid_t object, const std::string& name) {
  return first_of(read_texts(object, name));
}

std::optional<std::int64_t> read_integer(hid_t object, const std::string& name) {
  return first_of(read_values<std::int64_t>(object, name, H5T_NATIVE_INT64));
}

std::optional<std::uint64_t> read_unsigned(hid_t object, const std::string& name) {
  return first_of(read_values<std::uint64_t>(object, name, H5T_NATIVE_UINT64));
}

std::optional<std::vector<double>> read_numbers(hid_t object, const std::string& name) {
  return read_values<double>(object, name, H5T_NATIVE_DOUBLE);
}

std::optional<Number> read_number(hid_t object, const std::string& name) {
  if (attribute_class(object, name) == H5T_INTEGER) return read_integer(object, name);
  return first_of(read_numbers(object, name));
}

H5T_class_t attribute_class(hid_t object, const std::string& name) {
  const auto attribute = open_attribute(object, name);
  if (!attribute) return H5T_NO_CLASS;
  const Handle stored(H5Aget_type(attribute->id()), H5Tclose);
  return H5Tget_class(stored.id());
}

}  // namespace stanley::hdf5
