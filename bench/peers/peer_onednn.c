/* SPDX-License-Identifier: Apache-2.0 */
/* oneDNN's recurrent layers in fp32, timed as bench/runner.c times ours; built by bench/peers/build_onednn.
 * Arrays in files are raw floats in PyTorch's layout and gate order:
 *   --data   parameters, x, h0, [c0,] dy, dhn[, dcn]
 *   --dump   y, hn[, cn], dx, dh0[, dc0], gradients of the parameters
 * ONEDNN_MAX_CPU_ISA caps oneDNN's instruction set. */
#include <dnnl.h>
#include <getopt.h>
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum cell { RNN, GRU, GRU_RESET_BEFORE, LSTM, CELLS };
static const char *const cell_names[CELLS] = {"rnn", "gru", "gru-reset-before", "lstm"};
static const int cell_gates[CELLS] = {1, 3, 3, 4};
/* Where oneDNN's gates stand in PyTorch's order: u r o of r z n. */
static const int gate_order[CELLS][4] = {{0}, {1, 0, 2}, {1, 0, 2}, {0, 1, 2, 3}};

enum slot { SRC_LAYER, SRC_ITER, SRC_ITER_C, W_LAYER, W_ITER, BIAS, DST_LAYER, DST_ITER, DST_ITER_C, SLOTS };
static const int value_arguments[SLOTS] = {
    DNNL_ARG_SRC_LAYER,     DNNL_ARG_SRC_ITER,     DNNL_ARG_SRC_ITER_C,
    DNNL_ARG_WEIGHTS_LAYER, DNNL_ARG_WEIGHTS_ITER, DNNL_ARG_BIAS,
    DNNL_ARG_DST_LAYER,     DNNL_ARG_DST_ITER,     DNNL_ARG_DST_ITER_C};
static const int gradient_arguments[SLOTS] = {
    DNNL_ARG_DIFF_SRC_LAYER,     DNNL_ARG_DIFF_SRC_ITER,     DNNL_ARG_DIFF_SRC_ITER_C,
    DNNL_ARG_DIFF_WEIGHTS_LAYER, DNNL_ARG_DIFF_WEIGHTS_ITER, DNNL_ARG_DIFF_BIAS,
    DNNL_ARG_DIFF_DST_LAYER,     DNNL_ARG_DIFF_DST_ITER,     DNNL_ARG_DIFF_DST_ITER_C};

enum { MOST_ARGUMENTS = 2 * SLOTS + 2, MOST_REORDERS = 8, MOST_RUNS = 1 << 20 };

struct reorder {
  dnnl_primitive_t primitive;
  dnnl_exec_arg_t arguments[2];
};

/* A primitive with everything it is executed on. */
struct pass {
  dnnl_primitive_desc_t desc;
  dnnl_primitive_t primitive;
  dnnl_exec_arg_t arguments[MOST_ARGUMENTS];
  int count;
  struct reorder before[MOST_REORDERS], after[MOST_REORDERS]; /* weights to its layout, gradients from it */
  int reorders_before, reorders_after;
};

struct layer {
  enum cell cell;
  long long input, hidden, batch, time, layers, directions;
  bool training;
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_memory_desc_t plain_desc[SLOTS], any_desc[SLOTS]; /* NULL: the cell has no such tensor */
  dnnl_memory_t value[SLOTS], gradient[SLOTS];           /* in plain layouts */
  dnnl_memory_t workspace;
  struct pass forward, backward;
};

static void check(dnnl_status_t status, const char *what) {
  if (status == dnnl_success)
    return;
  fprintf(stderr, "peer_onednn: %s: oneDNN status %d\n", what, (int)status);
  exit(status == dnnl_unimplemented ? 3 : 1);
}

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static float *data_of(dnnl_memory_t memory) {
  void *data;
  check(dnnl_memory_get_data_handle(memory, &data), "memory");
  return data;
}

static dnnl_memory_t new_memory(struct layer *l, const_dnnl_memory_desc_t desc) {
  dnnl_memory_t memory;
  check(dnnl_memory_create(&memory, desc, l->engine, DNNL_MEMORY_ALLOCATE), "memory");
  memset(data_of(memory), 0, dnnl_memory_desc_get_size(desc)); /* touches every page */
  return memory;
}

static dnnl_rnn_direction_t direction_of(const struct layer *l) {
  return l->directions > 1 ? dnnl_bidirectional_concat : dnnl_unidirectional_left2right;
}

/* ---- Primitives ------------------------------------------------------------------------------- */

static void describe(struct layer *l) {
  const long long layers = l->layers, d = l->directions, h = l->hidden, gates = cell_gates[l->cell];
  const dnnl_dims_t dims[SLOTS] = {
      {l->time, l->batch, l->input},   {layers, d, l->batch, h}, {layers, d, l->batch, h},
      {layers, d, l->input, gates, h}, {layers, d, h, gates, h}, {layers, d, gates + (l->cell == GRU), h},
      {l->time, l->batch, d * h},      {layers, d, l->batch, h}, {layers, d, l->batch, h}};
  const int ranks[SLOTS] = {3, 4, 4, 5, 5, 4, 3, 4, 4};
  const dnnl_format_tag_t tags[SLOTS] = {dnnl_tnc,  dnnl_ldnc, dnnl_ldnc, dnnl_ldigo, dnnl_ldigo,
                                         dnnl_ldgo, dnnl_tnc,  dnnl_ldnc, dnnl_ldnc};
  for (int i = 0; i < SLOTS; i++) {
    if (l->cell != LSTM && (i == SRC_ITER_C || i == DST_ITER_C))
      continue;
    bool weights = i == W_LAYER || i == W_ITER;
    check(dnnl_memory_desc_create_with_tag(&l->plain_desc[i], ranks[i], dims[i], dnnl_f32, tags[i]), "shape");
    check(dnnl_memory_desc_create_with_tag(&l->any_desc[i], ranks[i], dims[i], dnnl_f32,
                                           weights ? dnnl_format_tag_any : tags[i]),
          "shape");
  }
}

static void create_forward(struct layer *l) {
  dnnl_memory_desc_t *d = l->any_desc;
  dnnl_primitive_desc_t *pd = &l->forward.desc;
  const dnnl_prop_kind_t kind = l->training ? dnnl_forward_training : dnnl_forward_inference;
  const dnnl_rnn_direction_t direction = direction_of(l);
  dnnl_status_t status = dnnl_invalid_arguments;
  switch (l->cell) {
  case RNN:
    status = dnnl_vanilla_rnn_forward_primitive_desc_create(
        pd, l->engine, kind, dnnl_eltwise_tanh, direction, d[SRC_LAYER], d[SRC_ITER], d[W_LAYER], d[W_ITER],
        d[BIAS], d[DST_LAYER], d[DST_ITER], 0, 0, 0, NULL);
    break;
  case GRU:
    status = dnnl_lbr_gru_forward_primitive_desc_create(pd, l->engine, kind, direction, d[SRC_LAYER],
                                                        d[SRC_ITER], d[W_LAYER], d[W_ITER], d[BIAS],
                                                        d[DST_LAYER], d[DST_ITER], 0, NULL);
    break;
  case GRU_RESET_BEFORE:
    status = dnnl_gru_forward_primitive_desc_create(pd, l->engine, kind, direction, d[SRC_LAYER], d[SRC_ITER],
                                                    d[W_LAYER], d[W_ITER], d[BIAS], d[DST_LAYER], d[DST_ITER],
                                                    0, NULL);
    break;
  default:
    status = dnnl_lstm_forward_primitive_desc_create(
        pd, l->engine, kind, direction, d[SRC_LAYER], d[SRC_ITER], d[SRC_ITER_C], d[W_LAYER], d[W_ITER], NULL,
        NULL, d[BIAS], d[DST_LAYER], d[DST_ITER], d[DST_ITER_C], 0, NULL);
  }
  check(status, "forward");
}

/* Gradients have the shapes, and layouts, of what they are gradients of. */
static void create_backward(struct layer *l) {
  dnnl_memory_desc_t *d = l->any_desc;
  dnnl_primitive_desc_t *pd = &l->backward.desc;
  const_dnnl_primitive_desc_t hint = l->forward.desc;
  const dnnl_prop_kind_t kind = dnnl_backward;
  const dnnl_rnn_direction_t direction = direction_of(l);
  const unsigned flags = dnnl_rnn_flags_diff_weights_overwrite;
  dnnl_status_t status = dnnl_invalid_arguments;
  switch (l->cell) {
  case RNN:
    status = dnnl_vanilla_rnn_backward_primitive_desc_create(
        pd, l->engine, kind, dnnl_eltwise_tanh, direction, d[SRC_LAYER], d[SRC_ITER], d[W_LAYER], d[W_ITER],
        d[BIAS], d[DST_LAYER], d[DST_ITER], d[SRC_LAYER], d[SRC_ITER], d[W_LAYER], d[W_ITER], d[BIAS],
        d[DST_LAYER], d[DST_ITER], flags, 0, 0, hint, NULL);
    break;
  case GRU:
  case GRU_RESET_BEFORE:
    status = (l->cell == GRU ? dnnl_lbr_gru_backward_primitive_desc_create
                             : dnnl_gru_backward_primitive_desc_create)(
        pd, l->engine, kind, direction, d[SRC_LAYER], d[SRC_ITER], d[W_LAYER], d[W_ITER], d[BIAS],
        d[DST_LAYER], d[DST_ITER], d[SRC_LAYER], d[SRC_ITER], d[W_LAYER], d[W_ITER], d[BIAS], d[DST_LAYER],
        d[DST_ITER], flags, hint, NULL);
    break;
  default:
    status = dnnl_lstm_backward_primitive_desc_create(
        pd, l->engine, kind, direction, d[SRC_LAYER], d[SRC_ITER], d[SRC_ITER_C], d[W_LAYER], d[W_ITER], NULL,
        NULL, d[BIAS], d[DST_LAYER], d[DST_ITER], d[DST_ITER_C], d[SRC_LAYER], d[SRC_ITER], d[SRC_ITER_C],
        d[W_LAYER], d[W_ITER], NULL, NULL, d[BIAS], d[DST_LAYER], d[DST_ITER], d[DST_ITER_C], flags, hint,
        NULL);
  }
  check(status, "backward");
}

static void add_reorder(struct layer *l, struct reorder *reorder, dnnl_memory_t from, dnnl_memory_t to) {
  dnnl_primitive_desc_t desc;
  const_dnnl_memory_desc_t source, destination;
  check(dnnl_memory_get_memory_desc(from, &source), "reorder");
  check(dnnl_memory_get_memory_desc(to, &destination), "reorder");
  check(dnnl_reorder_primitive_desc_create(&desc, source, l->engine, destination, l->engine, NULL),
        "reorder");
  check(dnnl_primitive_create(&reorder->primitive, desc), "reorder");
  check(dnnl_primitive_desc_destroy(desc), "reorder");
  reorder->arguments[0] = (dnnl_exec_arg_t){DNNL_ARG_FROM, from};
  reorder->arguments[1] = (dnnl_exec_arg_t){DNNL_ARG_TO, to};
}

/* Gives the pass its tensor: `plain` itself, or one in the layout that the pass wants and a reorder. */
static void bind(struct layer *l, struct pass *pass, int argument, dnnl_memory_t plain, bool gradient) {
  const_dnnl_memory_desc_t has,
      wants = dnnl_primitive_desc_query_md(pass->desc, dnnl_query_exec_arg_md, argument);
  check(dnnl_memory_get_memory_desc(plain, &has), "layout");
  dnnl_memory_t memory = plain;
  if (!dnnl_memory_desc_equal(has, wants)) {
    memory = new_memory(l, wants);
    if (gradient)
      add_reorder(l, &pass->after[pass->reorders_after++], memory, plain);
    else
      add_reorder(l, &pass->before[pass->reorders_before++], plain, memory);
  }
  pass->arguments[pass->count++] = (dnnl_exec_arg_t){argument, memory};
}

static void create_pass(struct layer *l, struct pass *pass, bool backward) {
  check(dnnl_primitive_create(&pass->primitive, pass->desc), "primitive");
  for (int i = 0; i < SLOTS; i++)
    if (l->plain_desc[i]) {
      bind(l, pass, value_arguments[i], l->value[i], false);
      if (backward)
        bind(l, pass, gradient_arguments[i], l->gradient[i], i < DST_LAYER);
    }
  if (l->training)
    pass->arguments[pass->count++] = (dnnl_exec_arg_t){DNNL_ARG_WORKSPACE, l->workspace};
}

static void create(struct layer *l) {
  check(dnnl_engine_create(&l->engine, dnnl_cpu, 0), "engine");
  check(dnnl_stream_create(&l->stream, l->engine, dnnl_stream_default_flags), "stream");
  describe(l);
  create_forward(l);
  if (l->training)
    create_backward(l);
  for (int i = 0; i < SLOTS; i++)
    if (l->plain_desc[i]) {
      l->value[i] = new_memory(l, l->plain_desc[i]);
      l->gradient[i] = new_memory(l, l->plain_desc[i]);
    }
  if (l->training)
    l->workspace = new_memory(l, dnnl_primitive_desc_query_md(l->forward.desc, dnnl_query_workspace_md, 0));
  create_pass(l, &l->forward, false);
  if (l->training)
    create_pass(l, &l->backward, true);
}

static void run_reorders(struct layer *l, struct reorder *reorders, int count) {
  for (int i = 0; i < count; i++)
    check(dnnl_primitive_execute(reorders[i].primitive, l->stream, 2, reorders[i].arguments), "reorder");
  check(dnnl_stream_wait(l->stream), "reorder");
}

static void run(struct layer *l, struct pass *pass) {
  check(dnnl_primitive_execute(pass->primitive, l->stream, pass->count, pass->arguments), "execution");
  check(dnnl_stream_wait(l->stream), "execution");
}

/* ---- Data --------------------------------------------------------------------------------------- */

static size_t count_of(const struct layer *l, enum slot slot) {
  return l->plain_desc[slot] ? dnnl_memory_desc_get_size(l->plain_desc[slot]) / sizeof(float) : 0;
}

static size_t parameter_count(const struct layer *l) {
  const size_t rows = (size_t)cell_gates[l->cell] * (size_t)l->hidden;
  return (size_t)(l->layers * l->directions) * rows * (size_t)(l->input + l->hidden + 2);
}

/* Between PyTorch's (G H, K) and oneDNN's (K, G, H). */
static void move_matrix(const struct layer *l, float *torch, float *own, size_t k, bool to_torch) {
  const size_t h = (size_t)l->hidden, gates = (size_t)cell_gates[l->cell];
  for (size_t i = 0; i < k; i++)
    for (size_t gate = 0; gate < gates; gate++)
      for (size_t unit = 0; unit < h; unit++) {
        float *a = &torch[((size_t)gate_order[l->cell][gate] * h + unit) * k + i];
        float *b = &own[(i * gates + gate) * h + unit];
        *(to_torch ? a : b) = *(to_torch ? b : a);
      }
}

/* oneDNN has the sum of both biases; only the GRU with reset after keeps b_hn apart, as a fourth. */
static void move_biases(const struct layer *l, float *input, float *hidden, float *own, bool to_torch) {
  const size_t h = (size_t)l->hidden;
  for (int gate = 0; gate < cell_gates[l->cell]; gate++)
    for (size_t unit = 0; unit < h; unit++) {
      const size_t torch = (size_t)gate_order[l->cell][gate] * h + unit;
      const bool apart = l->cell == GRU && gate == 2;
      float *first = &own[(size_t)gate * h + unit], *second = apart ? first + h : first;
      if (to_torch) {
        input[torch] = *first;
        hidden[torch] = *second;
      } else {
        *first = input[torch] + (apart ? 0 : hidden[torch]);
        if (apart)
          *second = hidden[torch];
      }
    }
}

static void move_parameters(const struct layer *l, float *torch, const dnnl_memory_t *own, bool to_torch) {
  const size_t h = (size_t)l->hidden, rows = (size_t)cell_gates[l->cell] * h, in = (size_t)l->input;
  const size_t layers = (size_t)(l->layers * l->directions), biases = count_of(l, BIAS) / layers;
  for (size_t layer = 0; layer < layers; layer++) {
    move_matrix(l, torch, data_of(own[W_LAYER]) + layer * in * rows, in, to_torch);
    torch += rows * in;
    move_matrix(l, torch, data_of(own[W_ITER]) + layer * h * rows, h, to_torch);
    torch += rows * h;
    move_biases(l, torch, torch + rows, data_of(own[BIAS]) + layer * biases, to_torch);
    torch += 2 * rows;
  }
}

static void transfer(float *values, size_t count, FILE *file, bool write) {
  if ((write ? fwrite(values, sizeof *values, count, file) : fread(values, sizeof *values, count, file)) !=
      count) {
    fprintf(stderr, "peer_onednn: %s\n", write ? "cannot write the results" : "the data file is too short");
    exit(1);
  }
}

static float *new_parameters(const struct layer *l) {
  float *parameters = malloc(parameter_count(l) * sizeof *parameters);
  if (!parameters) {
    fprintf(stderr, "peer_onednn: not enough memory\n");
    exit(1);
  }
  return parameters;
}

static FILE *open_file(const char *path, const char *mode) {
  FILE *file = fopen(path, mode);
  if (!file) {
    perror(path);
    exit(1);
  }
  return file;
}

static void read_data(struct layer *l, const char *path) {
  float *parameters = new_parameters(l);
  FILE *file = open_file(path, "rb");
  transfer(parameters, parameter_count(l), file, false);
  move_parameters(l, parameters, l->value, false);
  for (int i = SRC_LAYER; i <= SRC_ITER_C; i++)
    if (l->value[i])
      transfer(data_of(l->value[i]), count_of(l, i), file, false);
  for (int i = DST_LAYER; i <= DST_ITER_C; i++)
    if (l->value[i])
      transfer(data_of(l->gradient[i]), count_of(l, i), file, false);
  fclose(file);
  free(parameters);
}

static void write_results(struct layer *l, const char *path) {
  FILE *file = open_file(path, "wb");
  for (int i = DST_LAYER; i <= DST_ITER_C; i++)
    if (l->value[i])
      transfer(data_of(l->value[i]), count_of(l, i), file, true);
  if (l->training) {
    for (int i = SRC_LAYER; i <= SRC_ITER_C; i++)
      if (l->value[i])
        transfer(data_of(l->gradient[i]), count_of(l, i), file, true);
    float *parameters = new_parameters(l);
    move_parameters(l, parameters, l->gradient, true);
    transfer(parameters, parameter_count(l), file, true);
    free(parameters);
  }
  if (fclose(file)) {
    perror(path);
    exit(1);
  }
}

/* Without a file: the ranges of bench/runner.c, from a generator of no consequence. */
static void fill_data(struct layer *l) {
  uint32_t state = 1;
  float bound = 1;
  while (bound * bound * (float)l->hidden > 1)
    bound *= 0.99f;
  for (int i = 0; i < 2 * SLOTS; i++) {
    const bool gradient = i >= SLOTS;
    const enum slot slot = (enum slot)(i % SLOTS);
    if (!l->value[slot] || gradient != (slot >= DST_LAYER))
      continue;
    const float range = gradient ? 0.1f : slot >= W_LAYER ? bound : 1;
    float *values = data_of(gradient ? l->gradient[slot] : l->value[slot]);
    for (size_t j = 0; j < count_of(l, slot); j++) {
      state = state * 1664525u + 1013904223u;
      values[j] = range * ((float)(state >> 8) * 0x1p-23f - 1);
    }
  }
}

/* ---- Timing ------------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b) {
  const double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

static void print_figure(const char *name, double *seconds, int runs) {
  qsort(seconds, (size_t)runs, sizeof *seconds, compare_doubles);
  printf("\"%s_ms\": %.9g, \"%s_ms_median\": %.9g, ", name, 1e3 * seconds[0], name,
         500 * (seconds[(runs - 1) / 2] + seconds[runs / 2]));
}

enum figure { FORWARD, BACKWARD, STEP, STEP_REORDERS, FIGURES };
static const char *const figure_names[FIGURES] = {"forward", "backward", "step", "step_with_reorders"};

/* A step does not count what brings weights into oneDNN's layouts and gradients back, which oneDNN's users do
 * once an update; step_with_reorders does. */
static void run_once(struct layer *l, double *figures) {
  double mark[5] = {seconds_now()};
  run_reorders(l, l->forward.before, l->forward.reorders_before);
  run_reorders(l, l->backward.before, l->backward.reorders_before);
  mark[1] = seconds_now();
  run(l, &l->forward);
  mark[2] = mark[3] = seconds_now();
  if (l->training) {
    run(l, &l->backward);
    mark[3] = seconds_now();
    run_reorders(l, l->backward.after, l->backward.reorders_after);
  }
  mark[4] = seconds_now();
  figures[FORWARD] = mark[2] - mark[1];
  figures[BACKWARD] = mark[3] - mark[2];
  figures[STEP] = mark[3] - mark[1];
  figures[STEP_REORDERS] = mark[4] - mark[0];
}

static void measure(struct layer *l, double seconds) {
  double *samples[FIGURES], one[FIGURES];
  int runs = 0;
  const double warm = seconds_now() + 0.1 * seconds;
  for (int i = 0; i < 2 || seconds_now() < warm; i++)
    run_once(l, one);
  for (int i = 0; i < FIGURES; i++)
    if (!(samples[i] = malloc(MOST_RUNS * sizeof *samples[i])))
      exit(1);
  for (const double end = seconds_now() + seconds; runs < MOST_RUNS && (runs < 3 || seconds_now() < end);
       runs++) {
    run_once(l, one);
    for (int i = 0; i < FIGURES; i++)
      samples[i][runs] = one[i];
  }
  const dnnl_version_t *version = dnnl_version();
  printf(
      "{\"peer\": \"oneDNN %d.%d.%d\", \"cell\": \"%s\", \"input\": %lld, \"hidden\": %lld, \"batch\": %lld, "
      "\"time\": %lld, \"layers\": %lld, \"threads\": %d, \"isa_flags\": \"0x%x\", ",
      version->major, version->minor, version->patch, cell_names[l->cell], l->input, l->hidden, l->batch,
      l->time, l->layers, omp_get_max_threads(), (unsigned)dnnl_get_effective_cpu_isa());
  for (int i = 0; i < FIGURES; i++) {
    if (l->training || i == FORWARD)
      print_figure(figure_names[i], samples[i], runs);
    free(samples[i]);
  }
  printf("\"runs\": %d}\n", runs);
}

static int usage(void) {
  fprintf(stderr,
          "usage: peer_onednn --cell rnn|gru|gru-reset-before|lstm --input I --hidden H --batch N --time T\n"
          "                   [--layers L] [--bidirectional] [--inference] [--threads P] [--seconds S]\n"
          "                   [--data FILE] [--dump FILE]\n"
          "Layers above one need I = H and one direction. --dump FILE writes the results of one run and "
          "times nothing.\n"
          "Exit status 3: oneDNN does not offer this.\n");
  return 2;
}

struct command {
  struct layer layer;
  double seconds;
  const char *data, *dump; /* NULL: not given */
};

static enum cell cell_of(const char *name) {
  enum cell cell = 0;
  while (cell < CELLS && strcmp(name, cell_names[cell]))
    cell++;
  return cell;
}

/* False: an option that there is not, or an argument that belongs to none. */
static bool read_options(int argc, char **argv, struct command *command) {
  static const struct option options[] = {{"cell", 1, NULL, 'c'},
                                          {"input", 1, NULL, 'i'},
                                          {"hidden", 1, NULL, 'h'},
                                          {"batch", 1, NULL, 'n'},
                                          {"time", 1, NULL, 't'},
                                          {"layers", 1, NULL, 'l'},
                                          {"threads", 1, NULL, 'p'},
                                          {"seconds", 1, NULL, 's'},
                                          {"data", 1, NULL, 'd'},
                                          {"dump", 1, NULL, 'o'},
                                          {"inference", 0, NULL, 'f'},
                                          {"bidirectional", 0, NULL, 'b'},
                                          {0}};
  struct layer *l = &command->layer;
  long long *const size[] = {
      ['i'] = &l->input, ['h'] = &l->hidden, ['n'] = &l->batch, ['t'] = &l->time, ['l'] = &l->layers};
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    if (option == 'c')
      l->cell = cell_of(optarg);
    else if (option == 'p')
      omp_set_num_threads(atoi(optarg));
    else if (option == 's')
      command->seconds = atof(optarg);
    else if (option == 'd')
      command->data = optarg;
    else if (option == 'o')
      command->dump = optarg;
    else if (option == 'b')
      l->directions = 2;
    else if (option == 'f')
      l->training = false;
    else if (option != '?')
      *size[option] = atoll(optarg);
    else
      return false;
  return optind == argc;
}

static bool is_offered(const struct layer *l) {
  return l->cell < CELLS && l->input > 0 && l->hidden > 0 && l->batch > 0 && l->time > 0 && l->layers > 0 &&
         (l->layers == 1 || (l->input == l->hidden && l->directions == 1));
}

int main(int argc, char **argv) {
  struct command command = {.layer = {.cell = CELLS, .layers = 1, .directions = 1, .training = true},
                            .seconds = 1};
  struct layer *l = &command.layer;
  if (!read_options(argc, argv, &command) || !is_offered(l))
    return usage();
  create(l);
  if (command.data)
    read_data(l, command.data);
  else
    fill_data(l);
  if (command.dump) {
    double unused[FIGURES];
    run_once(l, unused);
    write_results(l, command.dump);
  } else {
    measure(l, command.seconds);
  }
  return 0;
}
