/* bench.h - inside bench: the benchmarks, one a file. */
#ifndef CARAT_SRC_BENCH_BENCH_H
#define CARAT_SRC_BENCH_BENCH_H

#include <carat/bench.h>

extern const ct_benchmark ct_benchmark_norm, ct_benchmark_optimizer;

#endif
