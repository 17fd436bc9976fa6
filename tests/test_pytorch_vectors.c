/* SPDX-License-Identifier: Apache-2.0
 *
 * Against what PyTorch computed for the cases of pytorch/vectors.bin (format: pytorch/make_vectors.py).
 *   reference   the float64 reference equals PyTorch float64 to 1e-11 of each tensor's largest magnitude
 *   accuracy    fp32 results on every tier: the largest error relative to the tensor's largest magnitude,
 *               with PyTorch float64 as the truth, divided by PyTorch float32's own error. Over all tensors
 *               of all cases the ratios' geometric mean is at most 1.2, none above 3; a tensor whose error
 *               is below 1e-6 counts as 1
 *   training    losses of ten optimizer steps equal PyTorch's to 1e-5 relative
 *   optimizers  parameters after ten updates equal PyTorch float64's to 1e-6 of the largest */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/reference_fixture.h"

#define LARGEST_RATIO      3.0
#define LARGEST_MEAN_RATIO 1.2
#define COUNTS_AS_ONE      1e-6

static gk_isa tiers[MAX_TIERS];
static int tier_count;

/* ---- The file -------------------------------------------------------------------------------- */

static FILE *file;
enum vector_kind { NETWORK = 0, TRAINING, UPDATE };

static void read_values(void *values, size_t size, int64_t count) {
  if (fread(values, size, (size_t)count, file) != (size_t)count)
    fail_msg("vectors.bin is truncated at byte %ld", ftell(file));
}

static int64_t read_integer(void) {
  int64_t value;
  read_values(&value, sizeof value, 1);
  return value;
}

static double read_double(void) {
  double value;
  read_values(&value, sizeof value, 1);
  return value;
}

static int open_file(void **state) {
  (void)state;
  char magic[8];
  const char *path = GATEKERN_TESTS_DIR "/pytorch/vectors.bin";
  file = fopen(path, "rb");
  if (!file)
    fail_msg("%s: %s", path, strerror(errno));
  read_values(magic, 1, 8);
  assert_memory_equal(magic, "GKVECT02", 8);
  return 0;
}

static int close_file(void **state) {
  (void)state;
  return fclose(file);
}

struct network_vector {
  struct network_case c;
  struct network_data data;         /* of the seed, lengths of the file */
  struct reference_results truth;   /* PyTorch float64 */
  double single_error[MAX_TENSORS]; /* of PyTorch float32, in the order of stored_tensors_of */
};

/* tensors_of, but for the norms, which PyTorch does not return. */
static int stored_tensors_of(const struct network_case *c, struct named_tensor tensors[MAX_TENSORS]) {
  int count = tensors_of(c, tensors), stored = 0;
  for (int k = 0; k < count; k++)
    if (strcmp(tensors[k].name, "dh_norms") != 0)
      tensors[stored++] = tensors[k];
  return stored;
}

static struct network_vector read_network(struct buffers *b) {
  struct network_vector v = {.c = {.desc = GK_RNN_DESC_INIT, .states = true}};
  gk_rnn_desc *desc = &v.c.desc;
  desc->cell = (gk_cell)read_integer();
  desc->activation = read_integer() ? GK_ACTIVATION_RELU : GK_ACTIVATION_TANH;
  desc->input_size = read_integer();
  desc->hidden_size = read_integer();
  desc->layers = read_integer();
  desc->direction = read_integer() ? GK_BIDIRECTIONAL : GK_FORWARD;
  desc->layout = read_integer() ? GK_BATCH_FIRST : GK_TIME_MAJOR;
  desc->vocabulary = read_integer();
  desc->isa = tiers[0];
  v.c.time = read_integer();
  v.c.batch = read_integer();
  v.c.seed = (uint64_t)read_integer();
  desc->projection_size = read_integer();
  desc->merge = read_integer() ? GK_MERGE_SUM : GK_MERGE_CONCATENATE;
  if (read_integer()) {
    int64_t *sizes = buffers_take(b, (size_t)desc->layers * sizeof(int64_t), sizeof(int64_t));
    read_values(sizes, sizeof(int64_t), desc->layers);
    desc->hidden_sizes = sizes;
  }
  int64_t *lengths = NULL;
  if (read_integer()) {
    lengths = buffers_take(b, (size_t)v.c.batch * sizeof(int64_t), sizeof(int64_t));
    read_values(lengths, sizeof(int64_t), v.c.batch);
  }
  v.c.weight_scale = (float)read_double();
  v.data = take_data(b, &v.c);
  v.data.lengths = lengths;

  struct network_sizes s = sizes_of(&v.c);
  v.truth = (struct reference_results){take_doubles(b, s.outputs),    take_doubles(b, s.states),
                                       take_doubles(b, s.cells),      take_doubles(b, s.inputs),
                                       take_doubles(b, s.states),     take_doubles(b, s.cells),
                                       take_doubles(b, s.parameters), NULL};
  struct named_tensor tensors[MAX_TENSORS];
  int count = stored_tensors_of(&v.c, tensors);
  int64_t stored = read_integer();
  for (int k = 0; k < count; k++) {
    if (tensors[k].count == 0)
      continue;
    assert_int_equal(read_integer(), tensors[k].count);
    v.single_error[k] = read_double();
    read_values(reference_arrays(&v.truth)[tensors[k].array] + tensors[k].offset, sizeof(double),
                tensors[k].count);
    stored--;
  }
  assert_int_equal(stored, 0);
  return v;
}

struct training_vector {
  struct network_case c;
  gk_optimizer_desc optimizer;
  int64_t steps;
  double learning_rate, largest_norm;
  double loss[16], norm[16], single_loss[16];
};

static struct training_vector read_training(void) {
  struct training_vector v = {.c = {.desc = GK_RNN_DESC_INIT}, .optimizer = GK_OPTIMIZER_DESC_INIT};
  v.c.desc.cell = (gk_cell)read_integer();
  v.c.desc.activation = read_integer() ? GK_ACTIVATION_RELU : GK_ACTIVATION_TANH;
  v.c.desc.input_size = read_integer();
  v.c.desc.hidden_size = read_integer();
  v.c.desc.layers = read_integer();
  v.c.desc.vocabulary = read_integer();
  v.c.time = read_integer();
  v.c.batch = read_integer();
  v.c.seed = (uint64_t)read_integer();
  v.optimizer.kind = (gk_optimizer_kind)read_integer();
  v.steps = read_integer();
  v.learning_rate = read_double();
  v.optimizer.momentum = (float)read_double();
  v.largest_norm = read_double();
  assert_in_range(v.steps, 1, 16);
  for (int64_t i = 0; i < v.steps; i++) {
    v.loss[i] = read_double();
    v.norm[i] = read_double();
    v.single_loss[i] = read_double();
  }
  return v;
}

struct update_vector {
  gk_optimizer_desc optimizer;
  int64_t count, steps;
  uint64_t seed;
  double learning_rate;
  double parameters[64];
};

static struct update_vector read_update(void) {
  struct update_vector v = {.optimizer = GK_OPTIMIZER_DESC_INIT};
  v.optimizer.kind = (gk_optimizer_kind)read_integer();
  v.count = read_integer();
  v.steps = read_integer();
  v.seed = (uint64_t)read_integer();
  v.learning_rate = read_double();
  float *hyperparameters[] = {&v.optimizer.momentum, &v.optimizer.beta1,   &v.optimizer.beta2,
                              &v.optimizer.alpha,    &v.optimizer.epsilon, &v.optimizer.weight_decay};
  for (int i = 0; i < 6; i++)
    *hyperparameters[i] = (float)read_double();
  assert_in_range(v.count, 1, 64);
  read_values(v.parameters, sizeof(double), v.count);
  return v;
}

/* Reads every case, calls the function of its kind (NULL: skips it); returns how many were called. */
struct vector_calls {
  void (*network)(const struct network_vector *v);
  void (*training)(const struct training_vector *v);
  void (*update)(const struct update_vector *v);
};

static void for_each_vector(const char *test, const struct vector_calls *calls) {
  int64_t count = read_integer();
  int called = 0;
  for (int64_t i = 0; i < count; i++) {
    struct buffers buffers = {0};
    switch ((enum vector_kind)read_integer()) {
    case NETWORK: {
      struct network_vector v = read_network(&buffers);
      if (calls->network && ++called && case_wanted(test))
        calls->network(&v);
      break;
    }
    case TRAINING: {
      struct training_vector v = read_training();
      if (calls->training && ++called && case_wanted(test))
        calls->training(&v);
      break;
    }
    case UPDATE: {
      struct update_vector v = read_update();
      if (calls->update && ++called && case_wanted(test))
        calls->update(&v);
      break;
    }
    default:
      fail_msg("case %d of vectors.bin has an unknown kind", (int)i);
    }
    buffers_release(&buffers);
  }
  assert_int_equal(fgetc(file), EOF);
  assert_true(called > 0);
}

/* ---- The reference against PyTorch float64 --------------------------------------------------- */

static void check_reference(const struct network_vector *v) {
  struct buffers buffers = {0};
  struct reference_results got = run_reference(&buffers, &v->c, &v->data);
  struct named_tensor tensors[MAX_TENSORS];
  int count = stored_tensors_of(&v->c, tensors);
  for (int k = 0; k < count; k++) {
    const double *a = reference_arrays(&got)[tensors[k].array] + tensors[k].offset;
    const double *b = reference_arrays(&v->truth)[tensors[k].array] + tensors[k].offset;
    double largest = 0;
    for (int64_t i = 0; i < tensors[k].count; i++)
      largest = fmax(largest, fabs(b[i]));
    for (int64_t i = 0; i < tensors[k].count; i++)
      if (!(fabs(a[i] - b[i]) <= 1e-11 * largest))
        fail_case(&v->c, "reference: %s[%" PRId64 "] is %.17g, PyTorch has %.17g", tensors[k].name, i, a[i],
                  b[i]);
  }
  buffers_release(&buffers);
}

static void the_reference_is_pytorchs_in_float64(void **state) {
  (void)state;
  for_each_vector(__func__, &(struct vector_calls){.network = check_reference});
}

/* ---- fp32 against PyTorch float32 ------------------------------------------------------------ */

static struct {
  double log_sum, largest;
  int count, counted_as_one;
} ratios;

static void check_accuracy(const struct network_vector *v) {
  for (int tier = 0; tier < tier_count; tier++) {
    struct buffers buffers = {0};
    struct network_case c = v->c;
    c.desc.isa = tiers[tier];
    struct network_results got = run_case(&buffers, &c, &v->data);
    struct named_tensor tensors[MAX_TENSORS];
    int count = stored_tensors_of(&c, tensors);
    for (int k = 0; k < count; k++) {
      const struct named_tensor *t = &tensors[k];
      int64_t i;
      if (t->count == 0)
        continue;
      const float *values = result_arrays(&got)[t->array] + t->offset;
      const double *truth = reference_arrays(&v->truth)[t->array] + t->offset;
      double error = relative_error(t->count, values, truth, &i);
      bool small = error < COUNTS_AS_ONE;
      double ratio = small ? 1 : error / v->single_error[k];
      if (!(ratio <= LARGEST_RATIO))
        fail_case(&c, "%s: error %.3g, PyTorch float32's %.3g; [%" PRId64 "] is %.9g, wanted %.9g", t->name,
                  error, v->single_error[k], i, (double)values[i], truth[i]);
      ratios.log_sum += log(ratio);
      ratios.largest = fmax(ratios.largest, ratio);
      ratios.count++;
      ratios.counted_as_one += small;
    }
    buffers_release(&buffers);
  }
}

static void results_are_as_accurate_as_pytorchs(void **state) {
  (void)state;
  memset(&ratios, 0, sizeof ratios);
  for_each_vector(__func__, &(struct vector_calls){.network = check_accuracy});
  double mean = exp(ratios.log_sum / ratios.count);
  print_message("%d tensors, %d with an error below 1e-6; error over PyTorch float32's: geometric mean %.3f, "
                "largest %.3f\n",
                ratios.count, ratios.counted_as_one, mean, ratios.largest);
  assert_true(mean <= LARGEST_MEAN_RATIO);
}

/* ---- Training -------------------------------------------------------------------------------- */

/* Tokens (T+1, N) of one batch: make_vectors.py, train. */
static void make_batch(const struct training_vector *v, int64_t step, int32_t *tokens) {
  int64_t T = v->c.time, N = v->c.batch, V = v->c.desc.vocabulary;
  for (int64_t i = 0; i < (T + 1) * N; i++)
    tokens[i] = (int32_t)random_integer(v->c.seed * 16 + 10 + (uint64_t)step, (uint64_t)i, V);
  /* The right-hand side is of the tokens as they were drawn: from the last row up. */
  for (int64_t i = (T + 1) * N - 1; i >= N; i--)
    if (tokens[i] % 2 == 0)
      tokens[i] = (int32_t)((tokens[i - N] + 1) % V);
}

struct trainer {
  struct network_case c;
  struct network net;
  struct network_data data;
  struct network_results results;
  gk_output *output;
  gk_optimizer_desc optimizer;
  int64_t output_count;
  float *output_parameters, *output_gradients, *optimizer_state, *output_state, *dy, *states;
  void *output_packed, *output_workspace;
};

static struct trainer open_trainer(struct buffers *b, const struct training_vector *v, gk_isa isa) {
  struct trainer t = {.c = v->c, .optimizer = v->optimizer};
  gk_output_desc desc = GK_OUTPUT_DESC_INIT;
  size_t packed, workspace;
  int64_t state, output_state;
  t.c.desc.isa = t.optimizer.isa = desc.isa = isa;
  desc.input_size = v->c.desc.hidden_size;
  desc.output_size = v->c.desc.vocabulary;
  t.data = take_data(b, &t.c);
  t.data.tokens = buffers_take(b, (size_t)((v->c.time + 1) * v->c.batch) * sizeof(int32_t), sizeof(int32_t));
  t.results = take_results(b, &t.c);
  struct network_sizes s = sizes_of(&t.c);
  check_status(&t.c, gk_output_create(&desc, &t.output), "gk_output_create");
  t.output_count = gk_output_parameter_count(t.output);
  int64_t weights = desc.output_size * desc.input_size;
  float scale = (float)(1 / sqrt((double)desc.input_size));
  t.output_parameters = take_floats(b, t.output_count);
  random_floats(v->c.seed * 16 + 8, scale, weights, t.output_parameters);
  random_floats(v->c.seed * 16 + 9, scale, desc.output_size, t.output_parameters + weights);
  unsigned flags = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  check_status(&t.c, gk_output_packed_bytes(t.output, flags, &packed), "gk_output_packed_bytes");
  check_status(&t.c, gk_output_workspace_bytes(t.output, v->c.time * v->c.batch, &workspace),
               "gk_output_workspace_bytes");
  check_status(&t.c, gk_optimizer_state_count(&t.optimizer, s.parameters, &state),
               "gk_optimizer_state_count");
  check_status(&t.c, gk_optimizer_state_count(&t.optimizer, t.output_count, &output_state),
               "gk_optimizer_state_count");
  t.output_packed = buffers_take(b, packed, 1);
  t.output_workspace = buffers_take(b, workspace, 1);
  t.output_gradients = take_floats(b, t.output_count);
  t.optimizer_state = memset(take_floats(b, state), 0, (size_t)state * sizeof(float));
  t.output_state = memset(take_floats(b, output_state), 0, (size_t)output_state * sizeof(float));
  t.dy = take_floats(b, s.outputs);
  t.states = memset(take_floats(b, 2 * s.states), 0, (size_t)(2 * s.states) * sizeof(float));
  return t;
}

/* One step of training: returns the mean loss, *norm is the gradients' norm before clipping. */
static double train_step(struct buffers *b, struct trainer *t, const struct training_vector *v, int64_t step,
                         double *norm) {
  struct network_sizes s = sizes_of(&t->c);
  int64_t rows = t->c.time * t->c.batch;
  double sum = 0;
  make_batch(v, step, t->data.tokens);
  if (step == 0)
    t->net = open_network(b, &t->c, t->data.parameters);
  unsigned flags = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  check_status(&t->c, gk_rnn_pack(t->net.rnn, flags, t->data.parameters, t->net.packed), "gk_rnn_pack");
  check_status(&t->c, gk_output_pack(t->output, flags, t->output_parameters, t->output_packed),
               "gk_output_pack");

  float *h0 = take_floats(b, s.states), *c0 = take_floats(b, s.states);
  memcpy(h0, t->states, (size_t)s.states * sizeof(float));
  memcpy(c0, t->states + s.states, (size_t)s.states * sizeof(float));
  t->data.h0 = h0;
  t->data.c0 = has_memory(&t->c) ? c0 : NULL;
  gk_rnn_forward_args forward = forward_args(&t->net, &t->data, &t->results);
  forward.hn = t->states;
  forward.cn = has_memory(&t->c) ? t->states + s.states : NULL;
  check_status(&t->c, gk_rnn_forward(t->net.rnn, &forward), "gk_rnn_forward");

  gk_output_loss_args loss = GK_OUTPUT_LOSS_ARGS_INIT;
  loss.rows = rows;
  loss.h = t->results.y;
  loss.targets = t->data.tokens + t->c.batch;
  loss.packed = t->output_packed;
  loss.loss = &sum;
  loss.gradient_scale = 1 / (float)rows;
  loss.dh = t->dy;
  loss.gradients = t->output_gradients;
  loss.workspace = t->output_workspace;
  check_status(&t->c, gk_output_loss(t->output, &loss), "gk_output_loss");

  t->data.dy = t->dy;
  gk_rnn_backward_args backward = backward_args(&t->net, &t->data, &t->results);
  check_status(&t->c, gk_rnn_backward(t->net.rnn, &backward), "gk_rnn_backward");
  const float *gradients[] = {t->results.gradients, t->output_gradients};
  int64_t counts[] = {s.parameters, t->output_count};
  check_status(&t->c, gk_gradient_norm(t->c.desc.isa, 1, 2, gradients, counts, norm), "gk_gradient_norm");
  float scale = gk_clip_scale(*norm, v->largest_norm);
  check_status(&t->c,
               gk_optimizer_step(&t->optimizer, step + 1, v->learning_rate, scale, s.parameters,
                                 t->data.parameters, t->results.gradients, t->optimizer_state),
               "gk_optimizer_step");
  check_status(&t->c,
               gk_optimizer_step(&t->optimizer, step + 1, v->learning_rate, scale, t->output_count,
                                 t->output_parameters, t->output_gradients, t->output_state),
               "gk_optimizer_step");
  return sum / (double)rows;
}

static void check_training(const struct training_vector *v) {
  for (int tier = 0; tier < tier_count; tier++) {
    struct buffers buffers = {0};
    struct trainer t = open_trainer(&buffers, v, tiers[tier]);
    for (int64_t step = 0; step < v->steps; step++) {
      double norm, loss = train_step(&buffers, &t, v, step, &norm);
      if (!(fabs(loss - v->loss[step]) <= 1e-5 * v->loss[step]))
        fail_case(&t.c, "loss of step %d is %.9g, PyTorch float64 has %.9g, float32 %.9g", (int)step, loss,
                  v->loss[step], v->single_loss[step]);
      if (!(fabs(norm - v->norm[step]) <= 1e-4 * v->norm[step]))
        fail_case(&t.c, "gradient norm of step %d is %.9g, PyTorch has %.9g", (int)step, norm, v->norm[step]);
    }
    close_network(&t.net);
    gk_output_destroy(t.output);
    buffers_release(&buffers);
  }
}

static void losses_and_norms_of_training_are_pytorchs(void **state) {
  (void)state;
  for_each_vector(__func__, &(struct vector_calls){.training = check_training});
}

/* ---- Optimizers ------------------------------------------------------------------------------ */

static void check_update(const struct update_vector *v) {
  double parameters[64], state[128] = {0}, gradients[64];
  random_doubles(v->seed * 16, 1, v->count, parameters);
  for (int64_t step = 1; step <= v->steps; step++) {
    float rounded[64];
    random_floats(v->seed * 16 + (uint64_t)step, 0.1f, v->count, rounded);
    for (int64_t i = 0; i < v->count; i++)
      gradients[i] = rounded[i];
    gk_reference_optimizer_step(&v->optimizer, step, v->learning_rate, 1, v->count, parameters, gradients,
                                state);
  }
  for (int64_t i = 0; i < v->count; i++)
    if (!(fabs(parameters[i] - v->parameters[i]) <= 1e-12))
      fail_msg("reference, optimizer %s, seed %d: parameter %d is %.17g, PyTorch has %.17g",
               gk_optimizer_name(v->optimizer.kind), (int)v->seed, (int)i, parameters[i], v->parameters[i]);

  for (int tier = 0; tier < tier_count; tier++) {
    struct buffers buffers = {0};
    gk_optimizer_desc desc = v->optimizer;
    desc.isa = tiers[tier];
    int64_t floats;
    assert_int_equal(gk_optimizer_state_count(&desc, v->count, &floats), GK_OK);
    float *p = take_random(&buffers, v->seed * 16, 1, v->count), *g = take_floats(&buffers, v->count);
    float *s = memset(take_floats(&buffers, floats), 0, (size_t)floats * sizeof(float));
    for (int64_t step = 1; step <= v->steps; step++) {
      /* Scaled by 4 and by 1/4 again: the gradient's scale multiplies the gradient, nothing else. */
      random_floats(v->seed * 16 + (uint64_t)step, 0.1f, v->count, g);
      for (int64_t i = 0; i < v->count; i++)
        g[i] *= 4;
      assert_int_equal(gk_optimizer_step(&desc, step, v->learning_rate, 0.25f, v->count, p, g, s), GK_OK);
    }
    int64_t worst;
    double error = relative_error(v->count, p, v->parameters, &worst);
    if (!(error <= 1e-6))
      fail_msg("optimizer %s, isa %s, seed %d: parameter %d is %.9g, PyTorch has %.9g",
               gk_optimizer_name(desc.kind), gk_isa_name(desc.isa), (int)v->seed, (int)worst,
               (double)p[worst], v->parameters[worst]);
    buffers_release(&buffers);
  }
}

static void optimizers_are_pytorchs(void **state) {
  (void)state;
  for_each_vector(__func__, &(struct vector_calls){.update = check_update});
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (!start_on_tiers(argc, argv, tiers, &tier_count))
    return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(the_reference_is_pytorchs_in_float64, open_file, close_file),
      cmocka_unit_test_setup_teardown(results_are_as_accurate_as_pytorchs, open_file, close_file),
      cmocka_unit_test_setup_teardown(losses_and_norms_of_training_are_pytorchs, open_file, close_file),
      cmocka_unit_test_setup_teardown(optimizers_are_pytorchs, open_file, close_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
