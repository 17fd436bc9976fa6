/* SPDX-License-Identifier: Apache-2.0
 *
 * From the second call on, forward, backward, step, loss and optimizer allocate nothing and take no lock.
 * (The first call lets the OpenMP runtime make its threads.) The allocator and pthread_mutex_lock are
 * replaced by ones that count; glibc's own sit behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/decoder_fixture.h"
#include "tests/network_fixture.h"
#include "tests/own_allocator.h"

static atomic_long allocations, locks;

#if OWN_ALLOCATOR
/* Seen by the OpenMP runtime too, although everything else here is hidden. */
#pragma GCC visibility push(default)
int posix_memalign(void **memory, size_t alignment, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
  atomic_fetch_add(&allocations, 1);
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  atomic_fetch_add(&allocations, 1);
  return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
  atomic_fetch_add(&allocations, 1);
  return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
  atomic_fetch_add(&allocations, 1);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
  *memory = memalign(alignment, size);
  return *memory ? 0 : ENOMEM;
}

void free(void *memory) {
  atomic_fetch_add(&allocations, memory != NULL);
  __libc_free(memory);
}

static int (*libc_lock)(pthread_mutex_t *mutex);

int pthread_mutex_lock(pthread_mutex_t *mutex) {
  if (!libc_lock) {
    void *found = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    memcpy(&libc_lock, &found, sizeof found);
  }
  atomic_fetch_add(&locks, 1);
  return libc_lock(mutex);
}
#pragma GCC visibility pop
#endif

/* The counters do count. */
static void the_counters_do_count(void **state) {
  (void)state;
  long before = atomic_load(&allocations), locked = atomic_load(&locks);
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  void *volatile memory = malloc(100);
  free(memory);
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  assert_int_equal(atomic_load(&allocations), before + 2);
  assert_int_equal(atomic_load(&locks), locked + 1);
}

struct work {
  struct buffers buffers;
  struct network_case c;
  struct network_data d;
  struct network_results r;
  struct network net;
  gk_output *output;
  gk_output_loss_args loss;
  double sum, norm;
  gk_optimizer_desc optimizer;
  float *optimizer_state;
};

static void open_work(struct work *w, gk_isa isa, int kind, int threads, gk_schedule schedule) {
  *w = (struct work){.c = {.desc = GK_RNN_DESC_INIT, .time = 9, .batch = 12, .ragged = true, .seed = 31},
                     .optimizer = GK_OPTIMIZER_DESC_INIT};
  struct buffers *b = &w->buffers;
  w->c.desc.isa = w->optimizer.isa = isa;
  w->c.desc.input_size = 20;
  w->c.desc.hidden_size = 48;
  set_kind(&w->c, kind);
  w->c.desc.layers = 2;
  w->c.desc.vocabulary = kind % 2 ? 10 : 0;
  w->c.resets = true;
  add_all_masks(&w->c);
  w->c.desc.threads = w->optimizer.threads = threads;
  w->c.desc.schedule = schedule;
  w->d = take_data(b, &w->c);
  w->r = take_results(b, &w->c);
  w->net = open_network(b, &w->c, w->d.parameters);
  gk_output_desc desc = GK_OUTPUT_DESC_INIT;
  desc.input_size = h_size(&w->c);
  desc.output_size = 30;
  desc.isa = isa;
  desc.threads = threads;
  int64_t rows = w->c.time * w->c.batch, floats;
  size_t packed, workspace;
  unsigned flags = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  check_status(&w->c, gk_output_create(&desc, &w->output), "gk_output_create");
  check_status(&w->c, gk_output_packed_bytes(w->output, flags, &packed), "gk_output_packed_bytes");
  check_status(&w->c, gk_output_workspace_bytes(w->output, rows, &workspace), "gk_output_workspace_bytes");
  int64_t count = gk_output_parameter_count(w->output);
  float *p = take_random(b, 3, 0.2f, count);
  void *packed_output = buffers_take(b, packed, 1);
  int32_t *targets = buffers_take(b, (size_t)rows * sizeof(int32_t), sizeof(int32_t));
  for (int64_t i = 0; i < rows; i++)
    targets[i] = (int32_t)(i % 30);
  check_status(&w->c, gk_output_pack(w->output, flags, p, packed_output), "gk_output_pack");
  w->loss = (gk_output_loss_args)GK_OUTPUT_LOSS_ARGS_INIT;
  w->loss.rows = rows;
  w->loss.h = w->r.y;
  w->loss.targets = targets;
  w->loss.packed = packed_output;
  w->loss.loss = &w->sum;
  w->loss.dh = w->d.dy;
  w->loss.gradients = take_floats(b, count);
  w->loss.workspace = buffers_take(b, workspace, 1);
  int64_t parameters = sizes_of(&w->c).parameters;
  check_status(&w->c, gk_optimizer_state_count(&w->optimizer, parameters, &floats),
               "gk_optimizer_state_count");
  w->optimizer_state = memset(take_floats(b, floats), 0, (size_t)floats * sizeof(float));
}

/* Every call that a training loop or a server makes again and again. */
static void do_work(struct work *w, int64_t step) {
  struct network *net = &w->net;
  int64_t parameters = sizes_of(&w->c).parameters;
  gk_rnn_forward_args forward = forward_args(net, &w->d, &w->r), inference = forward;
  gk_rnn_backward_args backward = backward_args(net, &w->d, &w->r);
  inference.reserve = NULL;
  inference.workspace = net->inference_workspace;
  gk_rnn_step_args streaming = GK_RNN_STEP_ARGS_INIT;
  streaming.batch = w->c.batch;
  streaming.x = w->d.x;
  streaming.tokens = w->d.tokens;
  streaming.parameters = w->d.parameters;
  streaming.packed = net->packed;
  streaming.h = w->r.dh0;
  streaming.c = w->r.dc0;
  streaming.workspace = net->inference_workspace;
  const float *gradients[] = {w->r.gradients};
  /* what is dropped must be packed for backward */
  const unsigned both = GK_PACK_FORWARD | GK_PACK_BACKWARD;
  const unsigned training_flags = w->c.desc.weight_dropout == 0 ? (unsigned)step & both : both;
  gk_status status[] = {
      gk_rnn_pack(net->rnn, GK_PACK_FORWARD, w->d.parameters, net->packed),
      gk_rnn_forward(net->rnn, &inference),
      gk_rnn_step(net->rnn, &streaming),
      gk_rnn_pack_dropped(net->rnn, training_flags, &forward.random, w->d.parameters, net->packed),
      gk_rnn_forward(net->rnn, &forward),
      gk_output_loss(w->output, &w->loss),
      gk_rnn_backward(net->rnn, &backward),
      gk_gradient_norm(w->c.desc.isa, w->c.desc.threads, 1, gradients, &parameters, &w->norm),
      gk_optimizer_step(&w->optimizer, step, 0.01, gk_clip_scale(w->norm, 1), parameters, w->d.parameters,
                        w->r.gradients, w->optimizer_state),
  };
  for (size_t i = 0; i < sizeof status / sizeof *status; i++)
    if (status[i] != GK_OK)
      fail_case(&w->c, "call %zu: %s", i, gk_last_error());
}

static void calls_allocate_nothing_and_take_no_lock(void **state) {
  enum { PLANS = 4 };
  (void)state;
  gk_isa tiers[MAX_TIERS];
  int tier_count = usable_tiers(tiers);
  assert_true(tier_count > 0);
  for (int tier = 0; tier < tier_count; tier++)
    for (int kind = 0; kind < network_kinds(); kind++)
      for (int plan = 0; plan < PLANS; plan++) {
        static const gk_schedule schedules[PLANS] = {GK_SCHEDULE_SLICES, GK_SCHEDULE_SLICES,
                                                     GK_SCHEDULE_TEAMS, GK_SCHEDULE_WAVEFRONT};
        struct work w;
        if ((kind >= gk_cell_count() && (tier + kind + plan) % PLANS) || !case_wanted(__func__))
          continue;
        open_work(&w, tiers[tier], kind, plan ? 2 : 1, schedules[plan]);
        do_work(&w, 1);
        long before = atomic_load(&allocations), locked = atomic_load(&locks);
        for (int64_t step = 2; step < 6; step++)
          do_work(&w, step);
        long allocated = atomic_load(&allocations) - before, taken = atomic_load(&locks) - locked;
        if (allocated || taken)
          fail_case(&w.c, "%ld allocations and %ld locks in four rounds", allocated, taken);
        gk_output_destroy(w.output);
        close_network(&w.net);
        buffers_release(&w.buffers);
      }
}

/* A decoder's calls, on random cases, with several threads. */
static void decoders_allocate_nothing_and_take_no_lock(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 24; seed++) {
    struct buffers b = {0};
    struct decoder_case c = random_decoder(3000 + seed);
    c.desc.rnn.threads = 1 + (int)(seed % 3);
    c.desc.rnn.schedule = seed % 2 ? GK_SCHEDULE_TEAMS : GK_SCHEDULE_SLICES;
    struct decoder_data d = take_decoder_data(&b, &c);
    struct decoder_results r = take_decoder_results(&b, &c, &d);
    struct open_decoder o = open_decoder(&b, &c, &d);
    const gk_decoder_forward_args forward = decoder_forward_args(&o, &c, &d, &r);
    const gk_decoder_backward_args backward = decoder_backward_args(&o, &c, &d, &r);
    const bool searches = c.desc.feedback == GK_FEEDBACK_TOKEN && c.desc.rnn.input_size == 0;
    size_t bytes = 0;
    if (searches)
      decoder_ok(&c, gk_decoder_search_bytes(o.decoder, c.batch, 2, 5, c.source_time, &bytes),
                 "gk_decoder_search_bytes");
    gk_search_args search = GK_SEARCH_ARGS_INIT;
    int32_t *start = buffers_take(&b, (size_t)c.batch * sizeof(int32_t), sizeof(int32_t));
    memset(start, 0, (size_t)c.batch * sizeof(int32_t));
    search.batch = c.batch;
    search.beam = 2;
    search.most = 5;
    search.start = start;
    search.source_time = c.source_time;
    search.source_lengths = d.source_lengths;
    search.source = d.source;
    search.parameters = d.parameters;
    search.packed = o.packed;
    search.output_packed = o.output_packed;
    search.tokens = buffers_take(&b, (size_t)(c.batch * 10) * sizeof(int32_t), sizeof(int32_t));
    search.workspace = buffers_take(&b, bytes, 1);
    long before = 0, locked = 0;
    for (int round = 0; round < 4; round++) {
      if (round == 1) {
        before = atomic_load(&allocations);
        locked = atomic_load(&locks);
      }
      decoder_ok(&c, gk_decoder_forward(o.decoder, &forward), "gk_decoder_forward");
      decoder_ok(&c, gk_decoder_backward(o.decoder, &backward), "gk_decoder_backward");
      if (searches)
        decoder_ok(&c, gk_decoder_search(o.decoder, &search), "gk_decoder_search");
    }
    const long allocated = atomic_load(&allocations) - before, taken = atomic_load(&locks) - locked;
    if (allocated || taken)
      fail_decoder(&c, "%ld allocations and %ld locks in three rounds", allocated, taken);
    close_decoder(&o);
    buffers_release(&b);
  }
}

int main(int argc, char **argv) {
  repeat_command.program = argv[0];
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  if (!OWN_ALLOCATOR) {
    print_message("skipped: a sanitizer owns the allocator\n");
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_counters_do_count),
      cmocka_unit_test(calls_allocate_nothing_and_take_no_lock),
      cmocka_unit_test(decoders_allocate_nothing_and_take_no_lock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
