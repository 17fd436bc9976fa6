/* SPDX-License-Identifier: Apache-2.0 */
#include "shim.h"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

static benchmark::State &of(shim_state *state) {
  return *reinterpret_cast<benchmark::State *>(state);
}

static benchmark::Counter rate(double value, benchmark::Counter::OneK k) {
  return benchmark::Counter(value, benchmark::Counter::kIsIterationInvariantRate, k);
}

void shim_register(const char *name, shim_function *run, const void *context) {
  benchmark::RegisterBenchmark(name, [run, context](benchmark::State &state) {
    run(reinterpret_cast<shim_state *>(&state), context);
  })->UseRealTime();
}

bool shim_keep_running(shim_state *state) {
  return of(state).KeepRunning();
}

void shim_flop_and_bytes(shim_state *state, double flop, double bytes) {
  of(state).counters["FLOP/s"] = rate(flop, benchmark::Counter::kIs1000);
  of(state).counters["bytes/s"] = rate(bytes, benchmark::Counter::kIs1000);
}

void shim_counter(shim_state *state, const char *name, double value) {
  of(state).counters[name] = value;
}

void shim_error(shim_state *state, const char *message) {
  of(state).SkipWithError(message);
}

void shim_context(const char *key, const char *value) {
  benchmark::AddCustomContext(key, value);
}

int shim_run(int argc, char **argv, const char *filter) {
  std::string fallback = std::string("--benchmark_filter=") + filter;
  std::vector<char *> arguments(argv, argv + argc);
  bool given = std::getenv("BENCHMARK_FILTER") != nullptr; // Google Benchmark reads it itself
  for (char *argument : arguments)
    given = given || std::strncmp(argument, "--benchmark_filter", 18) == 0;
  if (!given)
    arguments.insert(arguments.begin() + 1, &fallback[0]);
  arguments.push_back(nullptr);
  int count = static_cast<int>(arguments.size()) - 1;
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data()))
    return 2;
  const size_t matched = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return matched ? 0 : 1; // it has said that the filter matches nothing
}
