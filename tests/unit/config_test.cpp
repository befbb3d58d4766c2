#include "config/config.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "config/error.hpp"
#include "config/files.hpp"
#include "config/time_limit.hpp"

namespace stanley {
namespace {

using Overrides = std::vector<std::string>;

/// A file that is complete: only data.path has no default.
const std::string good = "data: {path: images.h5}\n";

Config parse(const std::string& text, const Overrides& overrides = {}) {
  return parse_config(text, "test.yaml", overrides);
}

/// The whole message of the refusal; "accepted" if there was none.
std::string refusal(const std::string& text, const Overrides& overrides = {}) {
  try {
    parse(text, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::configuration);
    return error.what();
  }
  return "accepted";
}

std::string refusal_of(const std::string& override_text) { return refusal(good, {override_text}); }

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::size_t lines(const std::string& text) {
  std::size_t count = 1;
  for (const char c : text) {
    count += c == '\n' ? 1 : 0;
  }
  return count;
}

TEST(Config, DefaultsAreThoseOfTheStructs) {
  Config expected;
  expected.data.path = "images.h5";
  EXPECT_EQ(parse(good), expected);
}

TEST(Config, ReadsEveryKindOfValue) {
  const Config config = parse(R"(
run: {name: fashion_mnist, seed: 4294967295, reproducible: true, threads: 2, until: 3h30m}
energy: {type: mlp, hidden: [32, 64, 32]}
data: {type: rings, batch: 64, noise: 0, samples: 1000}
chains:
  total: 256
  active: 64
  restart_probability: {from: 0.05, to: 0.01}
sampler: {temperature: 1.0e-3, step_size: 1e-3, threshold: 0.25, box: null}
samples: {every: null, chains: null}
checkpoint: {hints: {cb_nodes: 4, romio_cb_write: enable}}
)");
  EXPECT_EQ(config.run.name, "fashion_mnist");
  EXPECT_EQ(config.run.seed, 4294967295u);
  EXPECT_TRUE(config.run.reproducible);
  EXPECT_EQ(config.run.threads, 2);
  EXPECT_EQ(config.run.until, "3h30m");
  EXPECT_EQ(config.energy.type, EnergyType::mlp);
  EXPECT_EQ(config.energy.hidden, (std::vector<std::int64_t>{32, 64, 32}));
  EXPECT_EQ(config.data.type, DataType::rings);
  EXPECT_EQ(config.data.noise, 0.0);
  EXPECT_EQ(config.chains.restart_probability, RestartSchedule(0.05, 0.01));
  EXPECT_EQ(config.sampler.noise, std::nullopt);  // the default gives way to the temperature
  EXPECT_EQ(config.sampler.temperature, 1.0e-3);
  EXPECT_EQ(config.sampler.threshold, (Threshold{0.25, std::nullopt}));
  EXPECT_EQ(config.sampler.box, std::nullopt);
  EXPECT_EQ(config.samples.every, std::nullopt);
  EXPECT_EQ(config.samples.chains, std::nullopt);
  EXPECT_EQ(config.checkpoint.hints.at("cb_nodes"), "4");
  EXPECT_EQ(config.checkpoint.hints.at("romio_cb_write"), "enable");
}

TEST(Config, UnknownKeyHasItsPlaceAndTheNearestKey) {
  EXPECT_EQ(refusal("data: {path: images.h5}\nsampler:\n  steps: 5\n  stepsize: 3\n"),
            "test.yaml:4:3: sampler.stepsize: unknown key; the nearest known key is "
            "sampler.step_size");
  EXPECT_TRUE(contains(refusal(good + "smapler: {steps: 3}\n"),
                       "test.yaml:2:1: smapler: unknown key; the nearest known key is sampler"));
  EXPECT_TRUE(contains(refusal(good + "steps: 3\n"), "nearest known key is sampler.steps"));
  EXPECT_TRUE(contains(refusal(good + "optimizer: {schedule: {typ: cosine}}\n"),
                       "nearest known key is optimizer.schedule.type"));
  EXPECT_TRUE(contains(refusal(good + "sampler: {threshold: {quantil: 0.5}}\n"),
                       "test.yaml:2:23: sampler.threshold.quantil: unknown key; the nearest known "
                       "key is sampler.threshold.quantile"));
  EXPECT_TRUE(contains(refusal(good + "sampler.steps: 3\n"), "nest them"));
  for (const auto& [meant, known] :
       std::map<std::string, std::string>{{"optimizer: {lr: 0.1}", "optimizer.learning_rate"},
                                          {"optimizer: {rate: 0.1}", "optimizer.learning_rate"},
                                          {"sampler: {lr: 0.1}", "optimizer.learning_rate"},
                                          {"sampler: {size: 3}", "sampler.step_size"},
                                          {"sampler: {step: 3}", "sampler.steps"},
                                          {"lr: 0.1", "optimizer.learning_rate"},
                                          {"batch_size: 3", "data.batch"},
                                          {"energy: {hidden_sizes: [3]}", "energy.hidden"},
                                          {"optimizer: {clip: 3}", "optimizer.gradient_clip"}}) {
    EXPECT_TRUE(contains(refusal(good + meant + "\n"), "nearest known key is " + known)) << meant;
  }
  EXPECT_TRUE(contains(refusal(good + "<<: {run: {seed: 1}}\n"), "unknown key"));
}

TEST(Config, AnUnknownKeyDoesNotRaiseComplaintsOfTheDefaultItLeft) {
  // With chains.total at its default 2048, 96 active chains would not divide it.
  EXPECT_EQ(lines(refusal(good + "chains: {totl: 960, active: 96}\ndata2: 3\n")), 2u);
}

TEST(Config, AZeroIsReportedBeforeAnythingIsDividedByIt) {
  for (const std::string text : {"chains: {shards: 0}\n", "chains: {active: 0}\n",
                                 "checkpoint: {every: 0, keep_every: 500}\n"}) {
    EXPECT_EQ(lines(refusal(good + text)), 1u) << text;
  }
}

TEST(Config, APartOfAMappingThatAnOverrideGaveIsItsMistake) {
  const std::string file = "data: {path: images.h5}\nsampler: {threshold: {quantile: 0.5}}\n";
  for (const std::string text :
       {"sampler.threshold.quantile=3", "sampler={threshold: {quantile: 3}}"}) {
    EXPECT_TRUE(contains(refusal(file, {text}), "--set " + text + ": sampler.threshold: expected"));
  }
  const std::string schedule = good + "chains: {restart_probability: {from: 0.1, to: 0.2}}\n";
  EXPECT_TRUE(contains(refusal(schedule, {"run.seed=1", "chains.restart_probability.to=2"}),
                       "--set chains.restart_probability.to=2: chains.restart_probability: "));
  EXPECT_TRUE(contains(refusal(file + "chains: {restart_probability: {from: 2, to: 0.2}}\n"),
                       "test.yaml:3:31: chains.restart_probability: "));
}

TEST(Config, TagsAreRefusedButThatOfText) {
  EXPECT_EQ(parse(good + "run: {name: !!str 12}\n").run.name, "12");
  EXPECT_EQ(refusal(good + "run: {seed: !!int 3}\n"),
            "test.yaml:2:13: run.seed: expected a value without a tag, found "
            "tag:yaml.org,2002:int");
  for (const std::string text : {"log: !x {every: 3}\n", "energy: {hidden: !x [3]}\n"}) {
    EXPECT_TRUE(contains(refusal(good + text), "expected a value without a tag, found !x")) << text;
  }
  EXPECT_TRUE(contains(refusal_of("run.seed=!x 3"), "run.seed: expected a value without a tag"));
}

TEST(Config, AZeroHasNoPlaceInTexts) {
  for (const std::string text : {"run: {directory: \"a\\0b\"}\n", "data: {path: \"\\0\"}\n"}) {
    EXPECT_TRUE(contains(refusal(text), "with a zero character")) << text << refusal(text);
  }
}

TEST(Config, EachMistakeStandsOnOneLineWhateverItQuotes) {
  EXPECT_EQ(lines(refusal(good + "\"a\\nb\": 3\n")), 1u);
  EXPECT_EQ(lines(refusal_of("run.name=a\nb")), 1u);
  EXPECT_EQ(lines(refusal_of("run.na\nme=3")), 1u);
}

TEST(Config, RepeatedKeys) {
  EXPECT_EQ(refusal(good + "run:\n  seed: 1\n  name: a\n  seed: 2\n"),
            "test.yaml:5:3: run.seed: repeated key, first in line 3: keep one of the two");
  EXPECT_TRUE(contains(refusal(good + "run: {seed: 1}\nrun: {name: a}\n"),
                       "test.yaml:3:1: run: repeated key, first in line 2"));
  EXPECT_TRUE(
      contains(refusal_of("sampler.threshold={quantile: 0.5, quantile: 0.6}"), "repeated key"));
}

TEST(Config, AllMistakesAtOnceInFileOrder) {
  const std::string message = refusal(R"(optimizer: {learning_rate: fast}
run:
  seed: -1
  seeds: 3
  seed: 4
sampler: {steps: 0, box: [1, -1]}
chains: {total: 100, active: 10}
)",
                                      {"log.every=0", "guard.enabled=yes"});
  const std::vector<std::string> starts{
      "test.yaml:1:28: optimizer.learning_rate: expected a number above 0, found fast",
      "test.yaml:3:9: run.seed: expected an integer in [0, 4294967295], found -1",
      "test.yaml:4:3: run.seeds: unknown key",
      "test.yaml:5:3: run.seed: repeated key",
      "test.yaml:6:18: sampler.steps: expected an integer",
      "test.yaml:6:26: sampler.box: expected two numbers [low, high] with low < high, or null, "
      "found [1, -1]",
      "test.yaml:7:17: chains.total: chains.shards 8 (the default) must divide chains.total 100",
      "test.yaml:7:30: chains.active: chains.shards 8 (the default) must divide chains.active 10",
      "--set log.every=0: log.every: expected an integer of at least 1, found 0",
      "--set guard.enabled=yes: guard.enabled: expected true or false, found yes",
      "test.yaml: data.path: data.path must name an HDF5 file"};
  std::size_t position = 0;
  for (const std::string& start : starts) {
    const std::size_t next = message.find(start, position);
    ASSERT_NE(next, std::string::npos) << start << "\n is not in its place in\n" << message;
    EXPECT_TRUE(next == 0 || message[next - 1] == '\n') << start;
    position = next + 1;
  }
  EXPECT_EQ(lines(message), starts.size() + 1) << message;  // and data.batch above chains.total
}

TEST(Config, WrongTypesAndRanges) {
  for (const std::string text : {
           "run.iterations=1.5",
           "run.iterations=1e3",
           "run.iterations=0",
           "run.iterations=null",
           "run.iterations=\"10\"",
           "run.iterations=0x10",
           "run.iterations=010",
           "run.iterations=1_000",
           "run.iterations=[1]",
           "run.iterations={a: 1}",
           "run.iterations=99999999999999999999",
           "run.iterations=",
           "run.seed=-1",
           "run.seed=4294967296",
           "run.threads=0",
           "run.threads=99999999999",
           "run.name=12",
           "run.name=a/b",
           "run.name=..",
           "run.name=\"\"",
           "run.name=null",
           "run.name=true",
           "run.name=[a]",
           "run.reproducible=yes",
           "run.reproducible=1",
           "run.reproducible=True",
           "run.reproducible=\"true\"",
           "run.device=gpu",
           "run.device=null",
           "run.device=CPU",
           "run={seed: x}",
           "run=3",
           "run=null",
           "run.until=tomorrow",
           "run.until=12",
           "run.until=0s",
           "energy.hidden=[]",
           "energy.hidden=3",
           "energy.hidden=[3, 0]",
           "energy.hidden=[3, x]",
           "energy.slope=1",
           "data.noise=-0.1",
           "data.noise=nan",
           "data.noise=.nan",
           "data.noise=.inf",
           "data.noise=inf",
           "data.noise=1e400",
           "data.range=[1]",
           "data.range=[1, 1]",
           "data.range=[0, 1, 2]",
           "data.range=[a, 1]",
           "data.range=1",
           "data.range=null",
           "chains.restart_probability=1.1",
           "chains.restart_probability=-0.1",
           "chains.restart_probability={from: 0.1}",
           "chains.restart_probability={from: 0.1, to: 2}",
           "chains.restart_probability=null",
           "chains.restart_probability={from: 0.1, to: 0.1, at: 3}",
           "sampler.noise=0",
           "sampler.step_size=0",
           "sampler.temperature=-1",
           "sampler.threshold=-1",
           "sampler.threshold={quantile: 0}",
           "sampler.threshold={quantile: 1.5}",
           "sampler.threshold={}",
           "sampler.threshold=null",
           "sampler.threshold=[1]",
           "sampler.threshold={quantile: null}",
           "sampler.box=[-1]",
           "optimizer.betas=[0, 1]",
           "optimizer.betas=[-0.1, 0.9]",
           "optimizer.average=1",
           "optimizer.gradient_clip=0",
           "optimizer.schedule.decay=0",
           "optimizer.schedule.decay=1.1",
           "optimizer.schedule.final=2",
           "optimizer.schedule.end=0",
           "optimizer.schedule=cosine",
           "samples.every=0",
           "checkpoint.seconds=0",
           "checkpoint.hints=[a]",
           "checkpoint.hints={a: [b]}",
           "checkpoint.hints={a: null}",
           "watchdog.seconds=-5",
       }) {
    const std::string message = refusal_of(text);
    EXPECT_TRUE(message.starts_with("--set " + text + ": ")) << text << " gave " << message;
    EXPECT_TRUE(contains(message, "expected") || contains(message, "unknown key")) << message;
    EXPECT_EQ(lines(message), 1u) << message;
  }
}

TEST(Config, ValuesAtTheirLimitsAreTaken) {
  for (const std::string text : {"run.iterations=1",
                                 "run.seed=0",
                                 "run.seed=+3",
                                 "run.threads=null",
                                 "run.name=\"12\"",
                                 "run.name=a-b_c.d",
                                 "run.until=2030-02-28T23:59:59",
                                 "run.until=2d3h4m5s",
                                 "run.directory=/scratch/x y",
                                 "data.noise=0",
                                 "data.noise=.5",
                                 "data.noise=1e-3",
                                 "data.noise=3.0e-4",
                                 "data.noise=3.",
                                 "chains.restart_probability=0",
                                 "chains.restart_probability=1",
                                 "sampler.threshold=0",
                                 "sampler.threshold={quantile: 1}",
                                 "sampler.box=null",
                                 "sampler.box=[-2, 3.5]",
                                 "optimizer.betas=[0, 0]",
                                 "optimizer.average=0",
                                 "optimizer.gradient_clip=null",
                                 "checkpoint.seconds=null",
                                 "checkpoint.hints={}",
                                 "run={}"}) {
    EXPECT_EQ(refusal_of(text), "accepted") << text;
  }
}

TEST(Config, TextThatIsANumberAsksForQuotes) {
  EXPECT_TRUE(contains(refusal_of("run.directory=12"), "put it in quotes"));
  EXPECT_FALSE(contains(refusal_of("run.directory=[12]"), "quotes"));
}

TEST(Config, TextsThatAreNoConfiguration) {
  for (const std::string text : {"", "\n", "# only a comment\n", "---\n", "null\n"}) {
    EXPECT_TRUE(contains(refusal(text), "the file is empty")) << text;
  }
  EXPECT_TRUE(contains(refusal("just text\n"), "test.yaml:1:1: expected sections"));
  EXPECT_TRUE(contains(refusal("- a\n- b\n"), "test.yaml:1:1: expected sections"));
  EXPECT_TRUE(contains(refusal("run: {seed: 1\ndata: [\n"), "not YAML: "));
  const std::string tab = "is indented by a tab: YAML takes spaces alone";
  for (const std::string text :
       {"run:\n\tseed: 1\n", "run:\n  seed: 1\n\tname: x\n", "run:\n  \tseed: 1\n  name: x\n",
        "run:\n  name: a\n  \tseed: 1\n", "run: {\n\tseed: 1]\n", "data:\n\t- 1\n"}) {
    const int line =
        static_cast<int>(std::count(
            text.begin(), text.begin() + static_cast<std::ptrdiff_t>(text.find('\t')), '\n')) +
        1;
    EXPECT_TRUE(contains(refusal(text), "not YAML: line " + std::to_string(line) + " " + tab))
        << text << refusal(text);
  }
  EXPECT_FALSE(contains(refusal("run: {seed: 1\n#\n\tdata: [\n"), "line 1 is"));
  EXPECT_FALSE(contains(refusal("run: {seed:\t1]\n"), tab));
  EXPECT_TRUE(contains(refusal("run: *nothing\n"), "not YAML"));
  EXPECT_TRUE(
      contains(refusal(good + "---\nrun: {}\n"), "test.yaml:2:1: expected one YAML document"));
  EXPECT_TRUE(contains(refusal(std::string("\x89HDF\r\n\x1a\n\0\0\0", 11)), "test.yaml: expected"));
  EXPECT_TRUE(contains(refusal(good + std::string(2 << 20, '#')), "at most 1 MiB"));
  EXPECT_TRUE(contains(refusal(good + "[a, b]: 3\n"), "expected the name of a key, found [a, b]"));
  EXPECT_TRUE(contains(refusal(good + "run: " + std::string(5000, '[')), "test.yaml"));
  EXPECT_TRUE(contains(refusal(good + "run: &a [*a]\n"), "an alias inside the value"));
  // yaml-cpp 0.9 refuses the comma itself, older ones end the document there.
  const std::string comma = refusal("," + good);
  EXPECT_TRUE(contains(comma, "test.yaml:1:1: expected one YAML document") ||
              contains(comma, "test.yaml:1:1: not YAML: "))
      << comma;
  const std::string bomb =
      "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
      "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
      "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
  EXPECT_TRUE(contains(refusal(good + bomb), "too many"));
}

TEST(Config, AliasesWork) {
  const Config config = parse("data: {path: &p images.h5, split: test}\nrun: {directory: *p}\n");
  EXPECT_EQ(config.run.directory, "images.h5");
}

TEST(Config, OverridesComeBeforeChecking) {
  EXPECT_EQ(parse("sampler: {steps: 0}\n" + good, {"sampler.steps=7"}).sampler.steps, 7);
  EXPECT_EQ(parse(good, {"run.seed=2", "run.seed=3"}).run.seed, 3u);
  EXPECT_EQ(parse(good, {"data.path=a=b.h5"}).data.path, "a=b.h5");
  EXPECT_EQ(parse(good, {"sampler.temperature=1"}).sampler.noise, std::nullopt);
  EXPECT_EQ(parse(good, {"sampler.threshold=0.3"}).sampler.threshold,
            (Threshold{0.3, std::nullopt}));
  const std::string text = good + "sampler: {threshold: 0.3, steps: 4}\n";
  const Config merged = parse(text, {"sampler.threshold.quantile=0.5", "sampler={noise: 0.1}"});
  EXPECT_EQ(merged.sampler.threshold, (Threshold{std::nullopt, 0.5}));
  EXPECT_EQ(merged.sampler.steps, 4);
  EXPECT_EQ(merged.sampler.noise, 0.1);
}

TEST(Config, OverridesThatAreWrong) {
  EXPECT_EQ(refusal_of("sampler.stepz=3"),
            "--set sampler.stepz=3: sampler.stepz: unknown key; the nearest known key is "
            "sampler.steps");
  EXPECT_EQ(refusal_of("steps"), "--set steps: expected key.path=value");
  for (const std::string text : {"=3", "sampler.=3", ".steps=3", "sampler..steps=3", "="}) {
    EXPECT_TRUE(contains(refusal_of(text), "an empty name in the path")) << text;
  }
  EXPECT_TRUE(contains(refusal_of("run.seed=[1"), "--set run.seed=[1: run.seed: not YAML"));
  EXPECT_TRUE(contains(refusal_of("run.name.x=1"), "run.name: expected a name"));
  EXPECT_TRUE(contains(refusal_of("chains.shards=3"),
                       "--set chains.shards=3: chains.shards: chains.shards 3 must divide "
                       "chains.total 2048 (the default)"));
}

struct Contradiction {
  Overrides overrides;
  std::string first;
  std::string second;
};

TEST(Config, KeysThatContradictAreBothNamed) {
  const std::vector<Contradiction> contradictions{
      {{"chains.active=4"}, "chains.shards", "chains.active"},
      {{"data.batch=100"}, "chains.shards", "data.batch"},
      {{"chains.active=96"}, "chains.active 96", "chains.total 2048"},
      {{"chains.active=4096"}, "chains.active 4096", "chains.total 2048"},
      {{"data.batch=4096"}, "data.batch 4096", "chains.total 2048"},
      {{"sampler.noise=0.1", "sampler.temperature=1"}, "sampler.noise", "sampler.temperature"},
      {{"sampler.noise=null"}, "sampler.noise", "sampler.temperature"},
      {{"sampler.metropolis=true", "sampler.refresh=iteration"},
       "sampler.metropolis",
       "sampler.refresh iteration"},
      {{"energy.type=torchscript"}, "energy.path must name", "energy.type is torchscript"},
      {{"energy.path=energy.pt", "energy.type=mlp"}, "energy.path names", "energy.type is mlp"},
      {{"data.path=\"\""}, "data.path", "data.type is file"},
      {{"data.type=rings", "data.flip=true"}, "data.flip", "data.type rings"},
      {{"data.type=rings", "data.samples=64"}, "data.batch 128", "data.samples 64"},
      {{"data.range=[0, 2]"}, "data.range [0, 2]", "sampler.box [-1, 1]"},
      {{"sampler.box=[-0.5, 1]"}, "data.range [-1, 1]", "sampler.box [-0.5, 1]"},
      {{"optimizer.momentum=0.9"}, "optimizer.momentum", "optimizer.type adam"},
      {{"optimizer.schedule.type=linear_warmup"},
       "optimizer.schedule.type linear_warmup",
       "optimizer.schedule.warmup"},
      {{"optimizer.schedule={type: cosine, warmup: 10, end: 10}"},
       "optimizer.schedule.end",
       "optimizer.schedule.warmup"},
      {{"checkpoint.keep_every=750"}, "checkpoint.keep_every 750", "checkpoint.every 500"},
      {{"checkpoint.keep_every=500", "checkpoint.every=null"},
       "checkpoint.keep_every 500",
       "checkpoint.every, which is null"},
  };
  for (const Contradiction& contradiction : contradictions) {
    const std::string message = refusal(good, contradiction.overrides);
    EXPECT_TRUE(contains(message, contradiction.first)) << message;
    EXPECT_TRUE(contains(message, contradiction.second)) << message;
    EXPECT_EQ(lines(message), 1u) << message;
  }
}

TEST(Config, WhatIsNoTransitionIsRefusedWithTheReason) {
  const std::vector<std::pair<Overrides, std::string>> refused{
      {{"sampler.metropolis=true", "sampler.refresh=iteration"},
       "depends on the state at the iteration's start"},
      {{"sampler.metropolis=true", "sampler.type=gradient_descent"}, "no step leads back"},
      {{"sampler.type=barker"}, "set sampler.metropolis to true"},
      {{"sampler.type=random_walk"}, "set sampler.metropolis to true"},
      {{"sampler.type=hmc"}, "set sampler.metropolis to true"},
      {{"sampler.type=langevin", "sampler.drift_correction=true"}, "is of stanley's gain"},
      {{"sampler.refresh=iteration", "sampler.drift_correction=true"}, "set that to step"},
      {{"sampler.trajectory.steps=20"}, "is of hmc, and sampler.type is stanley"},
      {{"sampler.type=tamed", "sampler.threshold=0"}, "drift nowhere"},
      {{"sampler.trajectory.jitter=1"}, "in [0, 1)"},
      {{"sampler.trajectory.refreshment=0"}, "in (0, 1]"}};
  for (const auto& [overrides, reason] : refused) {
    const std::string message = refusal(good, overrides);
    EXPECT_TRUE(contains(message, reason)) << message;
    EXPECT_EQ(lines(message), 1u) << message;
  }
}

TEST(Config, RelationsThatHold) {
  for (const Overrides& overrides : std::vector<Overrides>{
           {"sampler.noise=null", "sampler.temperature=2"},
           {"sampler.metropolis=true"},
           {"sampler.type=hmc", "sampler.metropolis=true", "sampler.trajectory.steps=20"},
           {"sampler.type=tamed"},
           {"sampler.drift_correction=true", "sampler.metropolis=true"},
           {"checkpoint.keep_every=1500"},
           {"optimizer.type=sgd", "optimizer.momentum=0.9"},
           {"sampler.box=null", "data.range=[0, 255]"},
           {"data.type=pinwheel", "data.path=\"\"", "sampler.box=[0, 4]"},
           {"sampler.refresh=iteration"},
           {"optimizer.schedule={type: cosine, warmup: 9, end: 10}"},
           {"chains={total: 128, active: 128, shards: 128}"}}) {
    EXPECT_EQ(refusal(good, overrides), "accepted") << overrides.front();
  }
}

TEST(Config, StartsAreOneLawOrSharesOfSeveral) {
  const Config config = parse(good, {"chains.start={uniform: 0.25, data_gaussian: 0.75}"});
  EXPECT_EQ(config.chains.start,
            StartMixture({{StartType::uniform, 0.25}, {StartType::data_gaussian, 0.75}}));
  EXPECT_EQ(parse(to_yaml(config)), config);
  EXPECT_EQ(config.chains.start.pick(0.2499), StartType::uniform);
  EXPECT_EQ(config.chains.start.pick(0.25), StartType::data_gaussian);
  EXPECT_EQ(config.chains.start.pick(0.9999999), StartType::data_gaussian);
  for (const char* wrong : {"{uniform: 0.5}", "{uniform: 0.5, data: 0.6}", "{}", "[uniform]",
                            "{uniform: 1.5, data: -0.5}", "{uniform: a}"}) {
    EXPECT_TRUE(contains(refusal(good, {std::string("chains.start=") + wrong}),
                         "shares in (0, 1] that add up to 1"))
        << wrong;
  }
  EXPECT_TRUE(contains(refusal(good, {"chains.start={unifrom: 1}"}), "chains.start.uniform"));
  EXPECT_TRUE(contains(refusal(good, {"chains.start={bank: 0.5, data: 0.5}"}), "no share"));
}

TEST(Config, DrawsAreDenoisedInOneWay) {
  EXPECT_EQ(parse(good, {"samples.denoise={steps: 40}"}).samples.denoise.steps, 40);
  for (const char* way : {"{steps: 40}", "{fitted: true}", "null"}) {
    const Config config = parse(good, {std::string("samples.denoise=") + way});
    EXPECT_EQ(parse(to_yaml(config)), config);
    EXPECT_TRUE(contains(to_yaml(config), std::string("denoise: ") + way));
  }
  for (const char* wrong :
       {"{steps: 0}", "{fitted: false}", "{steps: 3, fitted: true}", "40", "{}"}) {
    EXPECT_TRUE(contains(refusal(good, {std::string("samples.denoise=") + wrong}),
                         "expected {steps: n} with n of at least 1, {fitted: true}, or null"))
        << wrong;
  }
  EXPECT_TRUE(contains(refusal(good, {"samples.denoise={fitted: true}", "data.noise=0"}),
                       "data.noise is 0"));
}

TEST(Config, ChainsThatNeverCountAreRefused) {
  EXPECT_EQ(refusal(good, {"chains={burn_in: 99, maximum_age: 100}"}), "accepted");
  EXPECT_TRUE(contains(refusal(good, {"chains={burn_in: 100, maximum_age: 100}"}),
                       "chains.burn_in 100 must be below chains.maximum_age 100"));
}

TEST(Config, DenoisingNeedsNoiseToTakeOff) {
  EXPECT_EQ(refusal(good, {"objective.denoising=3"}), "accepted");
  EXPECT_TRUE(
      contains(refusal(good, {"objective.denoising=3", "data.noise=0"}), "objective.denoising"));
  EXPECT_TRUE(contains(
      refusal(good, {"objective={denoising: 3, denoising_noise: 0.01}", "data.noise=0.02"}),
      "objective.denoising_noise 0.01 must be at least data.noise 0.02"));
  EXPECT_EQ(refusal(good, {"objective.denoising_noise=0.01", "data.noise=0.02"}), "accepted");
}

TEST(Config, StartFromTheBankIsForSamplingAlone) {
  const Config config = parse(good, {"chains.start=bank"});
  EXPECT_EQ(config.chains.start, StartType::bank);
  try {
    check_for_training(config);
    FAIL() << "training accepted chains.start bank";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ExitCode::configuration);
    EXPECT_TRUE(contains(error.what(), "chains.start"));
  }
  EXPECT_NO_THROW(check_for_training(parse(good)));
}

/// Each printed configuration reads back as itself, and prints the same again.
void expect_round_trip(const Config& config) {
  const std::string text = to_yaml(config);
  const Config read = parse(text);
  EXPECT_EQ(read, config) << text;
  EXPECT_EQ(to_yaml(read), text);
}

TEST(Config, RoundTripOfEveryName) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> names{
      {"run.device", {"auto", "cpu", "cuda"}},
      {"run.precision", {"auto", "float32", "bfloat16"}},
      {"energy.type", {"mlp", "convnet", "resnet", "torchscript"}},
      {"energy.activation", {"silu", "leaky_relu"}},
      {"data.type", {"file", "eight_gaussians", "pinwheel", "checkerboard", "rings"}},
      {"chains.start", {"uniform", "normal", "data", "data_gaussian", "bank"}},
      {"sampler.type", {"stanley", "langevin", "gradient_descent"}},
      {"sampler.refresh", {"iteration", "step"}},
      {"objective.type", {"contrastive"}},
      {"optimizer.type", {"adam", "sgd"}},
      {"optimizer.schedule.type", {"constant", "linear_warmup", "exponential", "cosine"}}};
  for (const auto& [path, values] : names) {
    for (const std::string& value : values) {
      std::vector<std::string> overrides{path + "=" + value, "optimizer.schedule.warmup=5"};
      if (value == "torchscript") overrides.emplace_back("energy.path=energy.pt");
      const Config config = parse(good, overrides);
      expect_round_trip(config);
      const std::string last = path.substr(path.rfind('.') + 1);
      EXPECT_TRUE(contains(to_yaml(config), last + ": " + value + "\n")) << path;
    }
  }
  EXPECT_EQ(to_string(DeviceKind::automatic), "auto");
  EXPECT_EQ(to_string(Activation::leaky_relu), "leaky_relu");
  EXPECT_EQ(to_string(StartType::data_gaussian), "data_gaussian");
}

TEST(Config, RoundTripOfEveryKindOfValue) {
  Config config;
  config.data.path = "a \"strange\"\\ näme: #1\n\x01";
  config.run.directory = "123";
  config.run.name = "-";
  config.run.until = "2030-01-01T00:00:00";
  config.run.threads = 3;
  config.run.seed = 4294967295u;
  config.energy.hidden = {1, 2, 3};
  config.chains.restart_probability = {0.1, 1.0 / 3.0};
  config.sampler.noise.reset();
  config.sampler.temperature = 5e-324;
  config.sampler.threshold = {0.1 + 0.2, std::nullopt};
  config.sampler.box.reset();
  config.data.range = {-std::numeric_limits<double>::max(), 1e22};
  config.optimizer.learning_rate = std::nextafter(3e-4, 1.0);
  config.optimizer.gradient_clip = 12345678901234567.0;
  config.optimizer.schedule.end = 999'999'999'999;
  config.optimizer.average = std::nextafter(1.0, 0.0);
  config.samples = {std::nullopt, std::nullopt};
  config.checkpoint = {1, std::nullopt, 1, 7, {{"a b", "true"}, {"striping_unit", "1048576"}}};
  expect_round_trip(config);
  for (const std::string text : {"true", "null", "~", "1e5", "- a", "*a", "&a", "!t", "%", "@", "{",
                                 "a: b", " a ", "''", ".", "é", "\t"}) {
    config.data.path = text;
    expect_round_trip(config);
  }
}

TEST(Config, PrintedFileShowsEveryKeyOfTheReference) {
  const std::string yaml = to_yaml(Config{});
  const std::string table = configuration_reference();
  EXPECT_TRUE(table.starts_with("| key | default | meaning |\n|---|---|---|\n"));
  EXPECT_TRUE(contains(table, "| `sampler.threshold` | `{quantile: 0.8}` |"));
  EXPECT_TRUE(contains(table, "| `run.until` | `null` |"));
  std::size_t rows = 0;
  for (std::size_t at = table.find("\n| `"); at != std::string::npos;
       at = table.find("\n| `", at + 1)) {
    const std::string path = table.substr(at + 4, table.find('`', at + 4) - at - 4);
    EXPECT_TRUE(contains(yaml, path.substr(path.rfind('.') + 1) + ": ")) << path;
    ++rows;
  }
  EXPECT_GE(rows, 60u);
}

TEST(Config, FilesOnDisk) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "stanley_config_test";
  std::filesystem::create_directories(folder);
  const auto message_of = [](const std::filesystem::path& path) -> std::string {
    try {
      load_config(path, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ExitCode::configuration);
      return error.what();
    }
    return "accepted";
  };
  EXPECT_TRUE(contains(message_of(folder / "missing.yaml"), "No such file"));
  EXPECT_TRUE(contains(message_of(folder / "missing.yaml"), "missing.yaml"));
  EXPECT_TRUE(contains(message_of(folder), "Is a directory"));
  std::ofstream(folder / "empty.yaml").close();
  EXPECT_TRUE(contains(message_of(folder / "empty.yaml"), "the file is empty"));
  std::ofstream(folder / "good.yaml") << good << "run: {seed: 9}\n";
  EXPECT_EQ(load_config(folder / "good.yaml", {"log.every=3"}).run.seed, 9u);
  EXPECT_TRUE(contains(message_of("/dev/zero"), "at most 1 MiB"));
  std::filesystem::remove_all(folder);
}

TEST(SamplerConfig, NoiseAndTemperatureFixEachOther) {
  SamplerConfig sampler;
  sampler.step_size = 20.0;
  sampler.noise = 0.005;
  EXPECT_DOUBLE_EQ(sampler.sigma(), 0.005);
  EXPECT_DOUBLE_EQ(sampler.temperature_value(), 0.005 * 0.005 / 20.0);
  sampler.noise.reset();
  sampler.temperature = 0.8;
  EXPECT_DOUBLE_EQ(sampler.sigma(), 4.0);
  EXPECT_DOUBLE_EQ(sampler.temperature_value(), 0.8);
}

TEST(RestartSchedule, IsLinearOverTheRun) {
  const RestartSchedule falling(0.05, 0.01);
  EXPECT_DOUBLE_EQ(falling.at(0, 100), 0.05);
  EXPECT_DOUBLE_EQ(falling.at(50, 100), 0.03);
  EXPECT_DOUBLE_EQ(falling.at(100, 100), 0.01);
  EXPECT_DOUBLE_EQ(falling.at(200, 100), 0.01);
  EXPECT_EQ(RestartSchedule(0.2).at(7, 9), 0.2);
}

TEST(Schedule, Factors) {
  Schedule schedule;
  EXPECT_EQ(schedule.factor(0, 100), 1.0);
  EXPECT_EQ(schedule.factor(99, 100), 1.0);

  schedule.type = ScheduleType::linear_warmup;
  schedule.warmup = 4;
  EXPECT_DOUBLE_EQ(schedule.factor(0, 100), 0.25);
  EXPECT_DOUBLE_EQ(schedule.factor(3, 100), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(50, 100), 1.0);

  schedule.type = ScheduleType::exponential;
  schedule.decay = 0.5;
  EXPECT_DOUBLE_EQ(schedule.factor(0, 100), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(3, 100), 0.125);

  schedule.type = ScheduleType::cosine;
  schedule.warmup = 10;
  schedule.final_factor = 0.2;
  EXPECT_DOUBLE_EQ(schedule.factor(4, 110), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(10, 110), 1.0);
  EXPECT_NEAR(schedule.factor(60, 110), 0.6, 1e-12);
  EXPECT_DOUBLE_EQ(schedule.factor(110, 110), 0.2);
  schedule.end = 60;
  EXPECT_NEAR(schedule.factor(35, 110), 0.6, 1e-12);
  EXPECT_DOUBLE_EQ(schedule.factor(60, 110), 0.2);
  EXPECT_DOUBLE_EQ(schedule.factor(100, 110), 0.2);
  schedule.end.reset();  // a warm-up longer than the run
  EXPECT_DOUBLE_EQ(schedule.factor(4, 5), 0.5);
}

TEST(TimeLimit, DurationsAndTimes) {
  using std::chrono::seconds;
  const auto start = std::chrono::system_clock::from_time_t(1'000'000);
  EXPECT_EQ(end_time("90s", start), start + seconds(90));
  EXPECT_EQ(end_time("3h30m", start), start + seconds(12600));
  EXPECT_EQ(end_time("1d1s", start), start + seconds(86401));
  // Farther than a clock of nanoseconds reaches is far away all the same.
  const auto now = std::chrono::system_clock::now();
  for (const char* far : {"9999-12-31T23:59:59", "999999d"}) EXPECT_GT(*end_time(far, now), now);
  const auto first = end_time("2030-01-01T00:00:00", start);
  const auto second = end_time("2030-01-02T01:02:03", start);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*second - *first, seconds(86400 + 3723));
  for (const std::string text :
       {"", "3", "h", "0s", "30m3h", "3H", "-3h", "1.5h", "9999999s", "2030-13-01T00:00:00",
        "2030-02-29T00:00:00", "2030-01-01T24:00:00", "2030-01-01 00:00:00", "2030-01-01"}) {
    EXPECT_EQ(end_time(text, start), std::nullopt) << text;
  }
}

TEST(ConfigPaths, AreWrittenOutAsAShellWould) {
  ::setenv("HOME", "/home/ada", 1);
  ::setenv("SCRATCH", "/scratch", 1);
  ::unsetenv("NOWHERE");
  const auto expanded = [](const std::string& path) { return expand_path(path, "data.path"); };
  EXPECT_EQ(expanded("~"), "/home/ada");
  EXPECT_EQ(expanded("~/runs"), "/home/ada/runs");
  EXPECT_EQ(expanded("$SCRATCH/a"), "/scratch/a");
  EXPECT_EQ(expanded("a/${SCRATCH}b"), "a//scratchb");
  EXPECT_EQ(expanded("a~b/c"), "a~b/c");
  EXPECT_EQ(expanded(""), "");
  for (const char* path : {"$NOWHERE/x", "${NOWHERE}", "${SCRATCH", "$/x", "a$", "~bob/x"}) {
    try {
      expanded(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ExitCode::configuration);
      EXPECT_TRUE(contains(error.what(), "data.path")) << error.what();
      EXPECT_TRUE(contains(error.what(), path)) << error.what();
    }
  }
}

TEST(ErrorOf, FilesAndGpusAreNoBugsOfOurs) {
  const std::filesystem::filesystem_error file("status", "/a/b",
                                               std::make_error_code(std::errc::permission_denied));
  EXPECT_EQ(as_error(file).code, ExitCode::input_output);
  EXPECT_TRUE(contains(as_error(file).what(), "/a/b"));
  for (const char* words : {"CUDA error: uncorrectable ECC error encountered", "cuDNN error: X"}) {
    EXPECT_EQ(as_error(std::runtime_error(words)).code, ExitCode::environment) << words;
  }
  const Error refused = as_error(std::runtime_error(
      "Traceback\nRuntimeError: cumsum_cuda_kernel does not have a deterministic implementation, "
      "but "
      "you set 'torch.use_deterministic_algorithms(True)'.\nException raised from x"));
  EXPECT_EQ(refused.code, ExitCode::configuration);
  EXPECT_TRUE(contains(refused.what(), "cumsum_cuda_kernel of this energy doesn't give the same"))
      << refused.what();
  EXPECT_FALSE(contains(refused.what(), "\n"));
  EXPECT_EQ(as_error(std::runtime_error("what")).code, ExitCode::bug);
}

TEST(ErrorOf, LackOfMemorySaysWhichAndHowMuch) {
  const auto told = [](const std::exception& exception) {
    const Error error = as_error(exception);
    EXPECT_EQ(error.code, ExitCode::environment);
    return std::string(error.what());
  };
  const std::string host = told(std::runtime_error(
      "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
      "you tried to allocate 49152000000 bytes. Error code 12 (Cannot allocate memory)"));
  EXPECT_TRUE(contains(host, "out of host memory: asked for 49.2 GB; lower chains.total")) << host;
  EXPECT_TRUE(contains(told(std::bad_alloc()), "out of host memory; lower chains.total"));
  const std::string gpu = told(std::runtime_error(
      "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.72 GiB "
      "of which 1.20 GiB is free. Including non-PyTorch memory, this process has 3 GiB"));
  EXPECT_TRUE(contains(gpu,
                       "out of memory on the GPU: Tried to allocate 20.00 GiB. GPU 0 has a "
                       "total capacity of 139.72 GiB of which 1.20 GiB is free."))
      << gpu;
  EXPECT_TRUE(contains(gpu, "chains.active")) << gpu;
  EXPECT_FALSE(contains(gpu, "non-PyTorch")) << gpu;
}

TEST(StoredConfig, KeysOfAnotherReleaseAreLeftOut) {
  const std::string text =
      "run: {name: a, colour: red}\nfuture: {x: 1}\nsampler:\n  threshold: {quantile: 0.5, share: "
      "1}\nenergy: {type: mlp}\ndata: {type: rings}\n";
  EXPECT_THROW(parse_config(text, "f.h5", {}), Error);
  const StoredConfig stored = parse_stored_config(text, "f.h5", {"run.seed=7"});
  EXPECT_EQ(stored.unknown,
            (std::vector<std::string>{"run.colour", "future", "sampler.threshold.share"}));
  EXPECT_EQ(stored.config.run.name, "a");
  EXPECT_EQ(stored.config.run.seed, 7U);
  EXPECT_EQ(stored.config.sampler.threshold.quantile, 0.5);
  // What a person types is read as strictly as ever, and so are the values of known keys.
  EXPECT_THROW(parse_stored_config(text, "f.h5", {"run.colour=red"}), Error);
  EXPECT_THROW(parse_stored_config("run: {seed: x}\n", "f.h5", {}), Error);
}

}  // namespace
}  // namespace stanley
