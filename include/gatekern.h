/* SPDX-License-Identifier: Apache-2.0
 *
 * Gatekern: recurrent networks on CPUs, trained and run with the same bits on every instruction set
 * and any number of threads.
 *
 * Conventions
 *   T time steps, N samples of a batch, I input size, H hidden size, L layers, D directions (1 or 2),
 *   G gates (LSTM 4, GRU 3, simplified GRU and MGU 2, RNN 1), V vocabulary. Shapes are written outermost
 *   first: (T, N, I). Every size is an int64_t, every tensor is fp32, dense and row-major unless a stride is
 *   named. A gradient is called d + the name of its tensor. The same bits means of a NaN that it is one.
 *   Denormal numbers slow down many CPUs. So what a network is given below 2^-95 (x, h0, c0, dcn, and
 *   dy + dh of a step) counts as 0, as do the rows of an embedding and of an output layer and the states of
 *   a bridge, and h, c, gradients of gates and of logits are stored so.
 *
 * Errors
 *   Every function that can fail returns a gk_status. On failure nothing has been written to the
 *   outputs, and gk_last_error() of the calling thread holds one line that names the argument and the
 *   values that do not fit. The library never prints, exits or aborts. A function without a status gives 0,
 *   false or NULL for an object that is NULL, or does nothing.
 *
 * Memory
 *   Everything large belongs to the caller: parameters, packed parameters, reserve (kept from forward
 *   to backward) and workspace (scratch). Their sizes are queried. forward, backward and step allocate
 *   nothing and take no lock. A description struct starts with its own size: initialise it with the
 *   macro of the same name, e.g. gk_rnn_desc d = GK_RNN_DESC_INIT;
 *
 *   An enum whose values have names has three functions, described once, here: gk_X_count(), its values
 *   being 0 to count - 1 (but of gk_isa), gk_X_name(), a string in static storage, and gk_X_from_name()
 *   (GK_ERROR_ARGUMENT if a pointer is NULL, or, with a message that lists the names, if there is no such).
 *
 *   What gk_rnn, gk_output, gk_decoder and gk_bridge have alike is described once, at gk_rnn: _create (on
 *   failure the object is NULL), _destroy (of NULL does nothing), _tensor (of an index from 0),
 *   _packed_bytes, _pack, _workspace_bytes and _memory_needed (GK_ERROR_ARGUMENT, or _OVERFLOW where a size
 *   does not fit).
 *
 * Threads
 *   A created object is immutable: any number of threads may use one at the same time, each with its own
 *   reserve and workspace. Called from inside an OpenMP parallel region, or in a child that was forked after
 *   the library was loaded, a call runs on the thread that makes it, whatever its plan says. An earlier fork,
 *   or a region of another OpenMP than the library's, is not seen: there ask for threads = 1. All that a
 *   network remembers of its calls is how fast each thread was, so that one which shares its core with
 *   another program gets fewer samples in later ones.
 *
 *   Work is shared by OpenMP, whose threads outlive a call: dlclose leaves the library where it is. Each
 *   thread, the caller's or OpenMP's (OMP_STACKSIZE), needs a stack of at least 64 KiB. Where the system
 *   refuses a thread, OpenMP itself ends the process: a process that may not have them asks for threads = 1.
 *   Between calls GNU's OpenMP lets its threads spin for milliseconds before they sleep, on a CPU that other
 *   programs, or the caller's own threads, may need: where there are such, start the program with
 *   GOMP_SPINCOUNT=3000 (or OMP_WAIT_POLICY=passive) in its environment.
 */
#ifndef GATEKERN_H
#define GATEKERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GK_VERSION_MAJOR 0
#define GK_VERSION_MINOR 1
#define GK_VERSION_PATCH 0

#if defined(__GNUC__)
#define GK_API __attribute__((visibility("default")))
#else
#define GK_API
#endif

/* ---- Status ------------------------------------------------------------------------------- */

typedef enum gk_status {
  GK_OK = 0,
  GK_ERROR_ARGUMENT,    /* a value is out of range, a pointer is missing, shapes disagree */
  GK_ERROR_UNSUPPORTED, /* valid, but this combination is not offered */
  GK_ERROR_ISA,         /* the instruction set asked for is unknown or not usable on this machine */
  GK_ERROR_OVERFLOW,    /* a size is larger than the library takes, or than memory can be */
  GK_ERROR_MEMORY,      /* an allocation failed */
  GK_ERROR_IO,          /* the operating system refused: file, disk, permission */
  GK_ERROR_FORMAT       /* a file's content is not what it must be */
} gk_status;

GK_API const char *gk_version(void);                 /* "0.1.0", of the library that is linked */
GK_API const char *gk_status_name(gk_status status); /* here and in every _name: "unknown" if it is none */
/* The message of the last failure in this thread; "" before the first. Valid until the next failure. */
GK_API const char *gk_last_error(void);
/* For libraries built on this one: keeps a message (printf's format) for gk_last_error, returns `status`. */
GK_API gk_status gk_fail(gk_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* Memory as the kernels like it: whole lines of cache, and huge pages where it is large. A convenience: any
 * memory of the caller's will do. GK_ERROR_MEMORY; *memory is then NULL. */
GK_API gk_status gk_allocate(size_t bytes, void **memory);
GK_API void gk_free(void *memory); /* what gk_allocate gave, or NULL */

/* ---- Instruction sets ---------------------------------------------------------------------- */

/* Tiers, weakest first (dispatch/isa.def). GK_ISA_AUTO: GATEKERN_ISA if it is set, else the best that
 * the CPU and the operating system offer. */
typedef enum gk_isa {
  GK_ISA_AUTO = 0,
  GK_ISA_SCALAR,
  GK_ISA_AVX2,   /* with FMA */
  GK_ISA_AVX512, /* F, BW, DQ, VL */
  GK_ISA_NEON
} gk_isa;

GK_API int gk_isa_count(void); /* tiers that exist, usable here or not; the n-th is (gk_isa)(n + 1) */
GK_API const char *gk_isa_name(gk_isa isa); /* "auto", "scalar", ... */
GK_API bool gk_isa_usable(gk_isa isa);      /* compiled in, and CPU and operating system have it */
/* The tier of this name; GK_ERROR_ISA (the message lists the usable ones) if there is none. */
GK_API gk_status gk_isa_from_name(const char *name, gk_isa *isa);
/* What `request` comes to on this machine. GK_ERROR_ISA if it, or GATEKERN_ISA, cannot be had. */
GK_API gk_status gk_isa_resolve(gk_isa request, gk_isa *isa);
/* One line each, in static storage: why the automatic choice is what it is; the CPU's features; by what the
 * scalar tier multiplies and adds here, "instruction" or, ten times slower, "libm". */
GK_API const char *gk_isa_reason(void);
GK_API const char *gk_cpu_features(void);
GK_API const char *gk_scalar_fma(void);

/* Threads that `threads = 0` stands for: the least of OMP_NUM_THREADS / OpenMP's maximum, the CPUs this
 * process may run on and its cgroup's CPU quota (rounded up); 1 in a child forked after the library was
 * loaded. CPUs and quota are read once. */
GK_API int gk_default_threads(void);
/* These CPUs, whatever the quota: those of the process's first thread, or, where OpenMP binds threads to CPUs
 * (OMP_PROC_BIND), those that OpenMP found. */
GK_API int gk_allowed_cpus(void);

/* Where activations come from: Gatekern's own polynomials (sigmoid <= 2 ULP, tanh <= 2.6 ULP) or
 * SLEEF's deterministic functions (tanh 1 ULP, sigmoid 2.5 ULP, slower), of results that are normal numbers;
 * below them sigmoid may be 0. GK_MATH_AUTO: GATEKERN_MATH=own|sleef, else own. */
typedef enum gk_math { GK_MATH_AUTO = 0, GK_MATH_OWN, GK_MATH_SLEEF } gk_math;
GK_API int gk_math_count(void);
GK_API const char *gk_math_name(gk_math math); /* auto, own, sleef */
GK_API gk_status gk_math_from_name(const char *name, gk_math *math);

/* y[i] = sigmoid(x[i]), tanh(x[i]) of `count` values, from 50,000 on by gk_default_threads(); y may be x.
 * Same bits on every tier. GK_ERROR_ARGUMENT, _ISA, _OVERFLOW. */
GK_API gk_status gk_sigmoid(gk_isa isa, gk_math math, int64_t count, const float *x, float *y);
GK_API gk_status gk_tanh(gk_isa isa, gk_math math, int64_t count, const float *x, float *y);

/* Largest fp32 FMA rate in GFLOP/s (an FMA is two) of `isa` on `threads` threads in rounds of some
 * milliseconds, measured for about `seconds` (above 0, below 3600, as below). `sustained`, which may be NULL,
 * receives the rate of all rounds together: what interrupts and other programs leave of the largest to calls
 * that take long. GK_ERROR_ARGUMENT, _ISA. */
GK_API gk_status gk_measure_peak(gk_isa isa, int threads, double seconds, double *gflops, double *sustained);

/* Nanoseconds that a cache line takes from a thread that wrote it to the next one that waits for it: the mean
 * over a ring of `threads`, the least of many rounds in about `seconds`. Cores of one cache answer sooner
 * than those of two, and a hypervisor may move threads from one to the other. 0 for one thread.
 * GK_ERROR_ARGUMENT, _MEMORY. */
GK_API gk_status gk_measure_core_to_core(int threads, double seconds, double *nanoseconds);

/* Read bandwidth in GB/s of `bytes` a thread (rounded up to 4 KiB), read again and again for about `seconds`.
 * GK_ERROR_ARGUMENT, _ISA, _MEMORY. */
GK_API gk_status gk_measure_bandwidth(gk_isa isa, int threads, size_t bytes, double seconds,
                                      double *gigabytes);

/* ---- Recurrent networks -------------------------------------------------------------------- */

/* One line a cell in kernels/cells.def. x_t is the input, h the hidden state, * is element by element.
 *   rnn               h = f(W_ih x + b_ih + W_hh h' + b_hh), f = tanh or ReLU (PyTorch's RNN)
 *   gru               r, z = sigmoid(W_i{r,z} x + b + W_h{r,z} h' + b), reset after the product:
 *                     n = tanh(W_in x + b_in + r * (W_hn h' + b_hn)), h = n + z * (h' - n)   (PyTorch)
 *   gru-reset-before  n = tanh(W_in x + b_in + W_hn (r * h') + b_hn)                     (Cho 2014)
 *   lstm              i, f, o = sigmoid(...), g = tanh(...), c = f * c' + i * g, h = o * tanh(c)
 *   gru-simplified    gru without the reset gate: z = sigmoid(W_iz x + b + W_hz h' + b),
 *                     n = tanh(W_in x + b_in + W_hn h' + b_hn), h = n + z * (h' - n)
 *                     (Ng's course; its update gate is 1 - z: its W_u and b_u change sign)
 *   mgu               minimal gated unit (Zhou 2016), its one gate resets and forgets:
 *                     f = sigmoid(W_if x + b + W_hf h' + b), n = tanh(W_in x + b_in + W_hn (f * h') + b_hn),
 *                     h = n + (1 - f) * (h' - n)
 * Gate order of parameters is PyTorch's: i f g o; r z n; and z n; f n. */
typedef enum gk_cell {
  GK_CELL_RNN = 0,
  GK_CELL_GRU,
  GK_CELL_GRU_RESET_BEFORE,
  GK_CELL_LSTM,
  GK_CELL_GRU_SIMPLIFIED,
  GK_CELL_MGU
} gk_cell;

GK_API int gk_cell_count(void);
GK_API const char *gk_cell_name(gk_cell cell);
GK_API gk_status gk_cell_from_name(const char *name, gk_cell *cell);
GK_API int gk_cell_gates(gk_cell cell);       /* G */
GK_API bool gk_cell_has_memory(gk_cell cell); /* carries a cell state c beside h */

/* Functions of pre-activations and of c; formulas are ONNX's, and defaults of alpha and beta where it has
 * some (scaled-tanh: 1 and 1). */
typedef enum gk_activation {
  GK_ACTIVATION_DEFAULT = 0,      /* sigmoid of gates, elsewhere tanh */
  GK_ACTIVATION_TANH,             /* tanh x */
  GK_ACTIVATION_RELU,             /* max(0, x) */
  GK_ACTIVATION_SIGMOID,          /* 1 / (1 + exp(-x)) */
  GK_ACTIVATION_AFFINE,           /* alpha x + beta; 1, 0 */
  GK_ACTIVATION_LEAKY_RELU,       /* x where x >= 0, else alpha x; 0.01 */
  GK_ACTIVATION_THRESHOLDED_RELU, /* x where x >= alpha, else 0; 1 */
  GK_ACTIVATION_SCALED_TANH,      /* alpha tanh(beta x); 1, 1 */
  GK_ACTIVATION_HARD_SIGMOID,     /* min(max(alpha x + beta, 0), 1); 0.2, 0.5 */
  GK_ACTIVATION_ELU,              /* x where x >= 0, else alpha (exp(x) - 1); 1 */
  GK_ACTIVATION_SOFTSIGN,         /* x / (1 + |x|) */
  GK_ACTIVATION_SOFTPLUS,         /* log(1 + exp(x)) */
  GK_ACTIVATION_IDENTITY          /* x */
} gk_activation;
GK_API int gk_activation_count(void); /* kinds, DEFAULT among them; the n-th is (gk_activation)n */
GK_API const char *gk_activation_name(gk_activation activation);
GK_API gk_status gk_activation_from_name(const char *name, gk_activation *activation);

/* Where a cell applies one. ONNX names the functions of an operator f g h: RNN f = candidate; GRU f = gate,
 * g = candidate; LSTM f = gate, g = candidate, h = output. */
typedef enum gk_activation_place {
  GK_CANDIDATE = 0, /* rnn's h, n, the LSTM's g */
  GK_GATE,          /* r z, f, i f o */
  GK_OUTPUT         /* the LSTM's c on its way to h */
} gk_activation_place;
enum { GK_ACTIVATION_PLACES = 3 };

typedef enum gk_direction { GK_FORWARD = 0, GK_REVERSE, GK_BIDIRECTIONAL } gk_direction;
GK_API int gk_direction_count(void);
GK_API const char *gk_direction_name(gk_direction direction); /* forward, reverse, bidirectional */
GK_API gk_status gk_direction_from_name(const char *name, gk_direction *direction);
/* How a layer of two directions hands on their h: side by side (forward's first), or added. */
typedef enum gk_merge { GK_MERGE_CONCATENATE = 0, GK_MERGE_SUM } gk_merge;
GK_API int gk_merge_count(void);
GK_API const char *gk_merge_name(gk_merge merge);
GK_API gk_status gk_merge_from_name(const char *name, gk_merge *merge);
/* What a layer reads of the step before besides its cell state. */
typedef enum gk_recurrence {
  GK_RECURRENCE_HIDDEN = 0, /* h, through weight_hh */
  GK_RECURRENCE_NONE /* nothing: weight_hh has 0 columns; gates see the input only. What a gated cell carries
                        element by element (c; z * h') stays. Output-to-hidden networks are such stacks */
} gk_recurrence;
GK_API int gk_recurrence_count(void);
GK_API const char *gk_recurrence_name(gk_recurrence recurrence);
GK_API gk_status gk_recurrence_from_name(const char *name, gk_recurrence *recurrence);
typedef enum gk_layout {
  GK_TIME_MAJOR = 0, /* x (T, N, I), y (T, N, D*H), tokens (T, N) */
  GK_BATCH_FIRST     /* x (N, T, I), y (N, T, D*H), tokens (N, T) */
} gk_layout;
GK_API int gk_layout_count(void);
GK_API const char *gk_layout_name(gk_layout layout); /* time-major, batch-first */
GK_API gk_status gk_layout_from_name(const char *name, gk_layout *layout);

/* How work is cut. Never changes a bit of any result.
 *   slices     a thread owns samples, as many as it was fast enough for in earlier calls, and walks all steps
 *              alone
 *   teams      threads share the samples, own hidden units (one thread those of a layer of very few), and
 *              meet at a barrier each step
 *   wavefront  a thread owns layers of a stack and walks all samples, some steps behind the layers below, or
 *              owns one of two directions; they meet every few steps, or once a layer. Where there is no such
 *              thing (one layer in one direction, directions that are added, tokens or input dropout in two
 *              directions, feedback, a single step) it is teams */
typedef enum gk_schedule {
  GK_SCHEDULE_AUTO = 0,
  GK_SCHEDULE_SLICES,
  GK_SCHEDULE_TEAMS,
  GK_SCHEDULE_WAVEFRONT
} gk_schedule;
GK_API int gk_schedule_count(void); /* schedules that exist, AUTO included */
GK_API const char *gk_schedule_name(gk_schedule schedule);
GK_API gk_status gk_schedule_from_name(const char *name, gk_schedule *schedule);

/* Masks of dropout are drawn for every step, or once for all steps of a row of the batch (variational
 * dropout, Gal and Ghahramani 2016; a reset draws no other). Both directions share the masks of inputs and
 * outputs. */
typedef enum gk_dropout_masks { GK_DROPOUT_EACH_STEP = 0, GK_DROPOUT_EACH_SEQUENCE } gk_dropout_masks;
GK_API int gk_dropout_masks_count(void);
GK_API const char *gk_dropout_masks_name(gk_dropout_masks masks); /* step, sequence */
GK_API gk_status gk_dropout_masks_from_name(const char *name, gk_dropout_masks *masks);

/* What may differ from a cell's usual arithmetic; everything 0: nothing does. Options combine freely. With
 * any of them a step takes the general kernels of its cell; without, it is the one that it would be if there
 * were none. */
typedef struct gk_cell_options {
  gk_activation gate_activation;   /* cells with gates */
  gk_activation output_activation; /* lstm */
  /* Of the functions by enum gk_activation_place (the candidate's kind is `activation` of the network). Both
   * 0: the defaults of the kind; a beta where the kind has none is refused. */
  float alpha[GK_ACTIVATION_PLACES], beta[GK_ACTIVATION_PLACES];
  /* Bidirectional: functions of the reverse direction, by place, with their own alpha and beta (ONNX's lists
   * have them behind the forward ones). DEFAULT: the forward direction's, its alpha and beta with it. */
  gk_activation reverse_activation[GK_ACTIVATION_PLACES];
  float reverse_alpha[GK_ACTIVATION_PLACES], reverse_beta[GK_ACTIVATION_PLACES];
  float
      preactivation_clip; /* pre-activations of candidate and gates are bounded to +-it (ONNX's clip); 0: not.
                               The gradient is 0 outside */
  /* lstm: */
  bool peephole; /* gates see c (Gers 2000): i += p_i * c', f += p_f * c', o += p_o * c before their sigmoid.
                    Parameter weight_peephole_l0 (3, H), rows i f o ((2, H), rows i o, if coupled) */
  bool coupled;  /* f = 1 - i (ONNX input_forget, CIFG): three gates i g o in this order in every parameter */
  bool layer_norm; /* Ba 2016, equations 20-22. With N(v) = (v - mean) / sqrt(variance + 1e-5) over a sample's
                      values: all gates' pre-activations are ln_ih * N(W_ih x) + bias_ih + ln_hh * N(W_hh h')
                      + bias_hh, each N over all G*H at once, and h = o * tanh(ln_c * N(c) + bias_ln_c); c
                      itself is carried as it is. Parameters weight_ln_ih_l0, weight_ln_hh_l0 (G*H),
                      weight_ln_c_l0, bias_ln_c_l0 (H); gains are initialised to 1 */
  float cell_clip; /* c is bounded to [-cell_clip, cell_clip] before it is used or kept; 0: not. The gradient
                      is 0 outside */
} gk_cell_options;

typedef struct gk_rnn_desc {
  size_t size; /* sizeof(gk_rnn_desc) */
  gk_cell cell;
  int64_t input_size;  /* I of the first layer (with a vocabulary: the embedding's size) */
  int64_t hidden_size; /* H */
  int64_t layers;      /* L */
  /* (L): H of each layer, copied; hidden_size is not read then. NULL: all hidden_size. */
  const int64_t *hidden_sizes;
  int64_t projection_size; /* P > 0: h = W_hr (o * tanh(c)) has P values in every layer (lstm; PyTorch's
                              proj_size, but any P), wherever this header says H of an h. 0: h has H */
  bool trained_states; /* h0 (and c0) are parameters too, the same for all samples, where a call gives none */
  int64_t vocabulary;  /* 0: inputs are vectors. V > 0: inputs are token ids 0..V-1, and
                          embedding.weight (V, I) is one of the parameters */
  gk_direction direction;
  gk_merge merge; /* of two directions: y is (T, N, H) where they are added, in every layer */
  gk_layout layout;
  gk_activation activation; /* of the candidate */
  gk_cell_options options;
  gk_recurrence recurrence;
  /* Regularisation while training (forward with a reserve); each a probability 0 <= p < 1, 0: off. Dropped
   * values are 0, kept ones are multiplied by 1 / (1 - p); inference changes nothing but for zoneout. A p
   * above 0 and below FLT_MIN is 0. */
  float dropout;           /* on the output of every layer but the last */
  float input_dropout;     /* on the first layer's inputs; with a vocabulary on the embedding's rows, for each
                              sample its own: they are then not folded */
  float recurrent_dropout; /* on h' where recurrent products read it (in all gates alike), not where a gate
                              carries it on */
  gk_dropout_masks dropout_masks; /* when the three above draw their masks */
  float weight_dropout;           /* on the elements of weight_hh, one mask a call of gk_rnn_pack_dropped
                                     (DropConnect as in AWD-LSTM, Merity et al. 2017) */
  /* Zoneout (Krueger et al. 2016): a unit of the new h, or c, keeps its value of the step before with this
   * probability; both are computed from the cell's own new state. Inference takes the mean, p old + (1 - p)
   * new. */
  float zoneout_h, zoneout_c;
  /* Plan: how it runs, never what it computes. */
  gk_isa isa;
  gk_math math;
  gk_schedule schedule;
  int threads; /* 0: up to gk_default_threads(), fewer where work is small; else so many at most */
} gk_rnn_desc;
#define GK_RNN_DESC_INIT                                                                                     \
  { .size = sizeof(gk_rnn_desc), .cell = GK_CELL_LSTM, .layers = 1 }

typedef struct gk_rnn gk_rnn;

/* GK_ERROR_ARGUMENT, _UNSUPPORTED, _ISA, _OVERFLOW, _MEMORY; *rnn is then NULL. */
GK_API gk_status gk_rnn_create(const gk_rnn_desc *desc, gk_rnn **rnn);
GK_API void gk_rnn_destroy(gk_rnn *rnn); /* NULL is allowed */
/* GK_ERROR_ARGUMENT for what gk_rnn_create takes, as PyTorch does, and whoever trains may not have meant:
 * dropout of a single layer, dropout_masks without any dropout that they are for; and for a desc of another
 * size. */
GK_API gk_status gk_rnn_dropout_check(const gk_rnn_desc *desc);
/* The description with every AUTO and DEFAULT resolved but that of the schedule, which follows from a call's
 * sizes (gk_rnn_plan), and those of functions that the network has not; hidden_size is that of the last
 * layer. */
GK_API const gk_rnn_desc *gk_rnn_description(const gk_rnn *rnn);
/* Gates of its parameters: gk_cell_gates, one fewer if coupled. */
GK_API int gk_rnn_gates(const gk_rnn *rnn);
/* What the gate, 0 ... G - 1 in the order of the parameters, is called above: of an lstm "i", "f", "g", "o";
 * the one of an rnn is "h". */
GK_API const char *gk_rnn_gate_name(const gk_rnn_desc *desc, int gate);

/* The options of a description as text, for files and command lines: one list (src/sequence/options.c) of all
 * but the cell, vocabulary, the sizes that every network has, the plan and the layout. An option has the name
 * of its field, with '-'. A value is a number, "on" or "off", a name, or a function: "elu",
 * "elu(0.5)" with alpha, "hard-sigmoid(0.2,0.5)" with beta too; a beta that is left out is the default. A
 * number has a decimal point whatever the caller's locale; one that a float rounds to 0, which is off, is no
 * value. */
GK_API int gk_rnn_option_count(void);
GK_API const char *gk_rnn_option_name(int index);  /* "peephole", "projection-size", ... */
GK_API const char *gk_rnn_option_help(int index);  /* one line */
GK_API const char *gk_rnn_option_group(int index); /* heading of those that belong together */
GK_API const char *gk_rnn_option_value(int index); /* what its value is called: "X"; NULL: on or off */
/* The choice-th name that it takes, the default first; NULL: no more, or its values are no names. */
GK_API const char *gk_rnn_option_choice(int index, int choice);
/* GK_ERROR_ARGUMENT: there is no such option, the text is no value of it, or desc has another size. Whether a
 * function takes so many numbers is for gk_rnn_create to say. */
GK_API gk_status gk_rnn_option_set(gk_rnn_desc *desc, const char *name, const char *value);
/* Several, as "peephole=on cell-clip=3", each with its value, separated by spaces; NULL: none. Those before
 * the first error are set. GK_ERROR_ARGUMENT. */
GK_API gk_status gk_rnn_options_set(gk_rnn_desc *desc, const char *text);
/* The value that sets it, "" where it is off or the default; cut to `size` bytes. GK_ERROR_ARGUMENT: there is
 * no such option, `size` is 0, or desc has another size. */
GK_API gk_status gk_rnn_option_get(const gk_rnn_desc *desc, const char *name, char *value, size_t size);

/* Where the sizes of a network's layers differ, the tensors that this header calls (L*D, N, H) hold one dense
 * block (N, H of the layer) after the other, layer by layer and in each the directions: h0, hn, dh0, dhn the
 * hidden states, c0, cn, dc0, dcn the cell states. */
typedef struct gk_rnn_state {
  int64_t h_size, c_size; /* values of a sample; c_size is 0 without a cell state */
  int64_t h_offset,
      c_offset; /* values of a sample in all blocks before: N times it is where the block begins */
} gk_rnn_state;
GK_API gk_status gk_rnn_state_of(const gk_rnn *rnn, int64_t layer, int direction, gk_rnn_state *state);
/* Values of a sample in all layers and directions: h0 has N times the first, c0 N times the second. */
GK_API int64_t gk_rnn_hidden_values(const gk_rnn *rnn);
GK_API int64_t gk_rnn_cell_values(const gk_rnn *rnn);
GK_API int64_t gk_rnn_output_size(const gk_rnn *rnn); /* of a row of y: D*H, H where directions are added */

/* Parameters are one array of floats that holds every tensor, in PyTorch's order and under PyTorch's
 * names, G being the network's gates (3 of a coupled LSTM):
 *   [embedding.weight,] weight_ih_l0 (G*H, I), weight_hh_l0 (G*H, H; with a projection G*H, P),
 *   bias_ih_l0, bias_hh_l0 (G*H) [, weight_hr_l0 (P, H)] [, weight_peephole_l0 (G-1, H)]
 *   [, weight_ln_ih_l0, weight_ln_hh_l0 (G*H), weight_ln_c_l0, bias_ln_c_l0 (H)]
 *   [, h0_l0 (H or P) [, c0_l0 (H)]],
 * then the same of ..._l0_reverse, ..._l1. Gradients and optimizer states have the same layout. */
typedef struct gk_tensor {
  char name[64];
  int rank;
  int64_t shape[4]; /* the first `rank`; 0 behind them */
  int64_t offset;   /* in floats from the start of the array */
  int64_t count;    /* floats */
} gk_tensor;
GK_API int gk_rnn_tensor_count(const gk_rnn *rnn);
GK_API gk_status gk_rnn_tensor(const gk_rnn *rnn, int index, gk_tensor *tensor);
/* The one of a layer, 0..L-1, and direction, 0..D-1, by its name without them: with kind "weight_hh",
 * layer 1 and direction 1 it is weight_hh_l1_reverse. GK_ERROR_ARGUMENT, also if the network has no such
 * tensor. */
GK_API gk_status gk_rnn_tensor_of(const gk_rnn *rnn, const char *kind, int64_t layer, int direction,
                                  gk_tensor *tensor);
GK_API int64_t gk_rnn_parameter_count(const gk_rnn *rnn); /* floats of the whole array */
/* Floating-point operations of the products, 2 a multiplication and addition, of a gk_rnn_forward and a
 * gk_rnn_backward that return every gradient: 3 * 2 * rows * the values of weight_ih, weight_hh, weight_hr,
 * rows being the steps of all samples, T*N without lengths (the first ones too, though from zero states they
 * have no recurrent product). With a vocabulary layer 0's weight_ih counts for the distinct tokens only,
 * unless there is input_dropout: the work that is done, not that of dense inputs. Without a vocabulary
 * distinct is not read. 0 if rnn is NULL. */
GK_API double gk_rnn_training_flop(const gk_rnn *rnn, int64_t rows, int64_t distinct);

/* The weights of one direction of a layer as textbooks write a cell, a = W [h', x] + b: weight (G*H, H + I)
 * is [W_hh | W_ih], row by row (I is that of the layer; W_hh has P columns with a projection, none without
 * recurrence), bias (G*H) is b_ih + b_hh. The candidate of `gru` resets b_hh with the product, so that its
 * two do not add: its bias (4*H) is b_r, b_z, b_in, b_hn. Gates are in the order of the parameters. Either
 * may be NULL: not wanted. GK_ERROR_ARGUMENT. */
GK_API gk_status gk_rnn_combined_weights(const gk_rnn *rnn, const float *parameters, int64_t layer,
                                         int direction, float *weight, float *bias);
/* The way back, into the whole array: b becomes bias_ih, and bias_hh 0 (but gru's b_hn). NULL: these
 * parameters stay as they are. */
GK_API gk_status gk_rnn_set_combined_weights(const gk_rnn *rnn, int64_t layer, int direction,
                                             const float *weight, const float *bias, float *parameters);

typedef enum gk_init {
  /* Always: trained states 0, an embedding U(+-sqrt(3)), scales of layer normalisation 1, shifts 0. */
  GK_INIT_UNIFORM = 0, /* the others U(-1/sqrt(H), 1/sqrt(H)): PyTorch's RNN modules */
  GK_INIT_GLOROT,      /* each gate's matrix and a projection U(+-sqrt(6/(fan in + fan out))), biases and
                          peepholes 0 */
  GK_INIT_ORTHOGONAL   /* recurrent matrix of each gate orthogonal, the other matrices Glorot, biases and
                          peepholes 0 */
} gk_init;
GK_API int gk_init_count(void);
GK_API const char *gk_init_name(gk_init init);
GK_API gk_status gk_init_from_name(const char *name, gk_init *init);
typedef struct gk_init_desc {
  size_t size;
  gk_init init;
  float forget_bias; /* added to bias_ih of the LSTM's forget gate; coupled: taken from the input gate's */
  uint64_t seed;
} gk_init_desc;
#define GK_INIT_DESC_INIT                                                                                    \
  { .size = sizeof(gk_init_desc), .init = GK_INIT_UNIFORM }
/* The embedding is drawn from U(-sqrt(3), sqrt(3)): mean 0 and variance 1, as PyTorch's normal one. Same bits
 * on every machine. GK_ERROR_ARGUMENT, _MEMORY (orthogonal). */
GK_API gk_status gk_rnn_init(const gk_rnn *rnn, const gk_init_desc *desc, float *parameters);

/* What decides random masks: nothing else does (not threads, not the position in the batch). */
typedef struct gk_random_key {
  uint64_t seed;
  uint64_t step;         /* the optimizer's step */
  uint64_t first_sample; /* global index of sample 0 */
  uint64_t first_time; /* time of step 0, modulo 2^32: calls that share a sequence draw what one call would */
} gk_random_key;

/* Packed parameters: what the kernels read, for the tier of `rnn`. Pack again after each update;
 * any number of callers may read one packed buffer. Any alignment will do; pack where it stays. `flags` are
 * GK_PACK_FORWARD, GK_PACK_BACKWARD or both: whose weights are packed beside the biases. A call that finds
 * what it needs missing, or packed for another network or tier, refuses it (GK_ERROR_ARGUMENT). But
 * gk_rnn_forward, gk_rnn_step and gk_rnn_backward take the weights from `parameters` if only theirs are
 * missing (unless in training with weight_dropout), and for them flags may also be 0: the same bits, faster
 * where weights are read too few times to be worth packing. `packed` must have packed_bytes of the same
 * flags; `parameters` is the whole array. */
typedef enum gk_pack_flags { GK_PACK_FORWARD = 1, GK_PACK_BACKWARD = 2 } gk_pack_flags;
GK_API gk_status gk_rnn_packed_bytes(const gk_rnn *rnn, unsigned flags, size_t *bytes);
GK_API gk_status gk_rnn_pack(const gk_rnn *rnn, unsigned flags, const float *parameters, void *packed);

/* The flags to pack with for a gk_rnn_forward and gk_rnn_backward of these sizes: GK_PACK_FORWARD alone if
 * backward would read its weights too few times to be worth packing (a small network, few samples and steps),
 * 0 if forward would too (up to three steps where I = H, more where I is larger), else both. The same bits
 * each way; without both, the two calls need `parameters`. Who also evaluates longer sequences adds
 * GK_PACK_FORWARD. Decoders, bridges and output layers always need both. */
GK_API gk_status gk_rnn_training_pack_flags(const gk_rnn *rnn, int64_t time, int64_t batch, unsigned *flags);

/* The same with weight_dropout's mask of a training step on weight_hh: for forward and backward calls with a
 * reserve, whose key must have this seed and step (first_sample does not matter). Such calls refuse
 * parameters from gk_rnn_pack if weight_dropout is on, and inference refuses those from here. flags must not
 * be 0 then: what is dropped must be packed. Without weight_dropout this is gk_rnn_pack. */
GK_API gk_status gk_rnn_pack_dropped(const gk_rnn *rnn, unsigned flags, const gk_random_key *key,
                                     const float *parameters, void *packed);

/* Sizes of the caller's memory for calls with T <= time, N = batch; a smaller batch may need more workspace,
 * because threads may share it otherwise. Any alignment is accepted. Workspace does not grow with T from some
 * T on (where all threads have work, and a chunk of steps is whole), but for what lies between the layers of
 * a bidirectional stack in inference, and for the folded embedding, which has min(V, T * N) rows, or with
 * input dropout for its rows' gradients. */
typedef struct gk_rnn_memory {
  /* Training only: what backward needs of forward. In floats a step, sample, layer and direction at most
   * (G + 2) H, G gates, or with layer normalisation (3 G + 3) H + 4; and on top of it 2 P with a projection,
   * H for each of h and c with zoneout, H with recurrent dropout; in floats a step and sample the width of
   * each layer's output but the last's, D H (H where directions are added), with dropout between layers or
   * two directions, and I with input dropout. Masked rows are an odd number of lines of cache; each layer and
   * direction may take 4 KiB more. */
  size_t reserve_bytes;
  size_t forward_workspace_bytes;   /* of gk_rnn_forward with a reserve */
  size_t inference_workspace_bytes; /* of gk_rnn_forward without one, and of gk_rnn_step */
  size_t backward_workspace_bytes;
  size_t keep_workspace_bytes; /* of gk_rnn_backward with keep_reserve; the same as the line above but in two
                                  directions, where it grows with T */
} gk_rnn_memory;
GK_API gk_status gk_rnn_memory_needed(const gk_rnn *rnn, int64_t time, int64_t batch, gk_rnn_memory *memory);

/* How a call of these sizes, one without feedback, is cut: the schedule (never AUTO) and the most threads
 * that it uses. training: gk_rnn_backward, and gk_rnn_forward with a reserve; else gk_rnn_forward without
 * one. Training whose weights are packed needs more work for each thread: a few steps more, or a
 * sample more, may use fewer. */
GK_API gk_status gk_rnn_plan(const gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                             gk_schedule *schedule, int *threads);

/* The same with its reasons: one sentence each, from the numbers that decide. */
typedef struct gk_rnn_plan_info {
  size_t size;
  gk_schedule schedule;
  int threads;
  int64_t chunk;       /* time steps whose input products are formed at once */
  int64_t rows;        /* samples that one thread walks */
  double step_flop;    /* products of one time step of a layer */
  unsigned pack_flags; /* training: as gk_rnn_training_pack_flags says; inference: GK_PACK_FORWARD */
  char schedule_reason[192], threads_reason[192], chunk_reason[192];
  char packing_reason[192]; /* training only */
} gk_rnn_plan_info;
#define GK_RNN_PLAN_INFO_INIT                                                                                \
  { .size = sizeof(gk_rnn_plan_info) }
GK_API gk_status gk_rnn_explain_plan(const gk_rnn *rnn, int64_t time, int64_t batch, bool training,
                                     gk_rnn_plan_info *info);

/* Masks read back: what training draws for this key, row by row. */
typedef enum gk_mask {
  GK_MASK_INPUT = 0, /* I factors of x[t, n] of layer 0 */
  GK_MASK_OUTPUT,    /* as many factors as a row of the layer's output has, of its output at t, n */
  GK_MASK_RECURRENT, /* H factors of the state that the products of step t read */
  GK_MASK_WEIGHT,    /* H factors of row n of weight_hh; t does not matter */
  GK_MASK_ZONEOUT_H, /* H: 1 where the value of the step before stays at t, n, else 0 */
  GK_MASK_ZONEOUT_C
} gk_mask;
#define GK_MASK_COUNT 6
GK_API int gk_mask_count(void);
GK_API const char *gk_mask_name(gk_mask mask);
GK_API gk_status gk_mask_from_name(const char *name, gk_mask *mask);
/* n counts from the key's first_sample, t from its first_time. Where the option is off or does not act on
 * this layer: all 1, zoneout 0. */
GK_API gk_status gk_rnn_mask(const gk_rnn *rnn, gk_mask mask, const gk_random_key *key, int64_t layer,
                             int direction, int64_t t, int64_t n, float *factors);

typedef struct gk_rnn_forward_args {
  size_t size;
  int64_t time, batch;
  const int64_t *lengths; /* (N), 0..T, in any order; NULL: all T. Steps past a sample's length are neither
                             read nor computed; y is 0 there */
  const bool *reset;     /* in the plan's layout (T, N) or (N, T); NULL: none. true: a sequence begins at this
                            step, and nothing crosses from the step before it, in either direction of time:
                            the first of its steps to be walked starts from zeros (not from h0, c0, which
                            belong to what was carried into the call), and no gradient flows across */
  const float *x;        /* inputs in the network's layout; NULL with a vocabulary */
  const int32_t *tokens; /* token ids in the network's layout, each 0..V-1; NULL without a vocabulary */
  const float *h0, *c0;  /* (L*D, N, H); NULL: the trained ones, or zeros. Zeros meet no weights: of the first
                            step no recurrent product and no gradient of weight_hh is formed, so that what is
                            not finite in the weights does not show in it, nor in a gate times h0 or c0 */
  const float *parameters; /* needed with a vocabulary (the embedding), and as they were packed if that was
                              without GK_PACK_FORWARD; else may be NULL */
  const void *packed; /* from gk_rnn_pack, with GK_PACK_FORWARD unless weights come from the parameters */
  float *y;           /* all hidden states of the last layer in the network's layout; may be NULL */
  float *hn, *cn;     /* (L*D, N, H), states after each sample's last step; may be NULL; may be h0, c0 where
                         no backward call follows: it reads h0 and c0 as they were */
  gk_random_key random;
  void *reserve;   /* reserve_bytes, for backward, also from a copy of them at any address; NULL: inference,
                      without dropout */
  void *workspace; /* forward_workspace_bytes; inference_workspace_bytes without a reserve */
} gk_rnn_forward_args;
#define GK_RNN_FORWARD_ARGS_INIT                                                                             \
  { .size = sizeof(gk_rnn_forward_args) }
/* GK_ERROR_ARGUMENT, _OVERFLOW. */
GK_API gk_status gk_rnn_forward(const gk_rnn *rnn, const gk_rnn_forward_args *args);

/* BPTT, strictly t = T-1 ... 0. Call it with what the forward call had, rnn included: how rows stand in the
 * reserve follows from its threads and schedule. GK_ERROR_ARGUMENT, _OVERFLOW.
 *
 * Truncated BPTT (k1, k2): every k1 steps the loss of these is carried back through the last k2 >= k1 steps.
 * With k1 = k2 = T it is one forward and one backward call of T steps, h0 and c0 being hn and cn of the call
 * before. With k2 > k1 the last k2 steps are read again with today's weights, in two calls that share
 * everything but reserve and random.first_time: first the k1 steps which the next update no longer reaches
 * (its hn, cn are what the next update starts from), then the k2 - k1 others; backward the other way round,
 * dh0, dc0 of the later call as dhn, dcn of the earlier one, which accumulates. dy is zero before the last k1
 * steps (gk_training_desc.backward_time does this for language models). */
typedef struct gk_rnn_backward_args {
  size_t size;
  int64_t time, batch;
  const int64_t *lengths;
  const bool *reset;
  const float *x;
  const int32_t *tokens;
  const float *h0, *c0;
  const float *parameters; /* needed with a vocabulary, and as they were packed if that was without
                              GK_PACK_BACKWARD; else may be NULL */
  const void *packed;     /* with GK_PACK_BACKWARD (which weight_dropout needs), or weights come from there */
  const float *dy;        /* gradient of y, same layout; NULL: zero. Padding is not read */
  const float *dhn, *dcn; /* (L*D, N, H); NULL: zero */
  float *dx;              /* same layout as x, 0 in padding; NULL: not computed */
  float *dh0, *dc0;       /* (L*D, N, H); NULL: not returned; both NULL: not computed */
  float *gradients;       /* layout of the parameters; NULL: no weight gradient is computed. That of a trained
                             state is the sum of dh0 over the samples, longest first; 0 where h0 was given */
  bool accumulate;        /* add the finished gradients to `gradients` instead of overwriting it */
  float *dh_norms;        /* (L*D, T, N) whatever the layout: the Euclidean norm of the whole gradient of h_t
                             of each sample (from y, from the layer above, and through time), 0 in padding;
                             what vanishes or explodes with the distance from the loss. NULL: off */
  gk_random_key random;
  /* What forward kept, of a call that agrees in network, time, batch, threads and schedule (another one's is
   * GK_ERROR_ARGUMENT). After the call it is undefined, and only forward may use it again; unless
   * keep_reserve is set: then another call with other dy, dhn, dcn gives the bits that it would give as the
   * first one. That costs nothing in one direction; in two, workspace of keep_workspace_bytes (as much again
   * as one layer's share of the reserve without its states), no more work. */
  void *reserve;
  void *workspace; /* backward_workspace_bytes, or keep_workspace_bytes */
  bool keep_reserve;
} gk_rnn_backward_args;
#define GK_RNN_BACKWARD_ARGS_INIT                                                                            \
  { .size = sizeof(gk_rnn_backward_args) }
GK_API gk_status gk_rnn_backward(const gk_rnn *rnn, const gk_rnn_backward_args *args);

/* One time step of every layer, forward direction only; h and c (L, N, H) are updated in place.
 * T calls give the bits of one gk_rnn_forward over T steps. GK_ERROR_ARGUMENT, _OVERFLOW, and _UNSUPPORTED
 * of a network in another direction. */
typedef struct gk_rnn_step_args {
  size_t size;
  int64_t batch;
  const float *x;          /* (N, I) */
  const int32_t *tokens;   /* (N) */
  const bool *reset;       /* (N): h and c are taken as zeros; NULL: none */
  const float *parameters; /* both as gk_rnn_forward's */
  const void *packed;
  float *h, *c;
  float *y;        /* (N, H): the last layer's h; may be NULL */
  void *workspace; /* inference_workspace_bytes for T = 1 */
} gk_rnn_step_args;
#define GK_RNN_STEP_ARGS_INIT                                                                                \
  { .size = sizeof(gk_rnn_step_args) }
GK_API gk_status gk_rnn_step(const gk_rnn *rnn, const gk_rnn_step_args *args);

/* The spectral radius of a matrix (size, size): its largest eigenvalue's magnitude, which decides whether
 * gradients vanish or explode through time (the recurrent matrix of one gate is rows gate * H ... of
 * weight_hh). Power iteration on all vectors at once: each irreducible block A of the matrix (of a triangular
 * one, each value of its diagonal) is balanced and squared until (|A^2k| / |A^k|)^(1/k) stands still
 * (Gelfand's formula), which converges for complex pairs and defective matrices too. In double, about 15
 * products of size^3; allocates two matrices and some rows. NaN if a value of the matrix is not finite, or if
 * powers of a block span more than a double does. GK_ERROR_ARGUMENT, _OVERFLOW, _MEMORY. */
GK_API gk_status gk_spectral_radius(int threads, int64_t size, const float *matrix, double *radius);
/* The same of one gate's recurrent matrix of one direction of a layer; gates 0 ... G - 1 are in the order of
 * the parameters. With a projection a step's h goes through W_hh W_hr, whose radius it is; 0 without
 * recurrence. */
GK_API gk_status gk_rnn_spectral_radius(const gk_rnn *rnn, const float *parameters, int64_t layer,
                                        int direction, int gate, double *radius);
/* Of all gates: radii (G). */
GK_API gk_status gk_rnn_spectral_radii(const gk_rnn *rnn, const float *parameters, int64_t layer,
                                       int direction, double *radii);

/* ---- Losses --------------------------------------------------------------------------------- */

/* Losses of one row of C values, with PyTorch's formulas; x are logits or predictions, y what they should be.
 *   softmax  -log softmax(x)[target]; with label_smoothing s the target has probability 1 - s + s/C and each
 *            other class s/C                                                       (CrossEntropyLoss)
 *   binary   sum of (1 - y) softplus(x) - p y log sigmoid(x), p = positive_weight  (BCEWithLogitsLoss)
 *   squared  sum of (x - y)^2                                                      (MSELoss)
 *   huber    sum of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2)       (HuberLoss), d = x - y
 * The loss is the sum over rows, each times its weight; gradients are those of this sum times gradient_scale.
 * PyTorch's reduction "mean" is gradient_scale = 1 / rows that count for softmax, 1 / (rows * C) for the
 * others, and the same factor for the loss. Padding: a row whose weight is 0, or (softmax) whose target is
 * negative or the ignored one, has no loss and zero gradient, and its values are never read: NaN there does
 * not leak. A row's sums over C are of float in 32 lanes: of equal terms they are short beyond about 2^24
 * columns a lane, 2^29 in all. */
typedef enum gk_loss_kind {
  GK_LOSS_SOFTMAX = 0,
  GK_LOSS_BINARY,
  GK_LOSS_SQUARED,
  GK_LOSS_HUBER
} gk_loss_kind;
GK_API int gk_loss_count(void);
GK_API const char *gk_loss_name(gk_loss_kind kind);
GK_API gk_status gk_loss_from_name(const char *name, gk_loss_kind *kind);

/* A loss over arrays that are already there, for example the outputs of another layer. Allocates nothing; the
 * same bits for every tier and number of threads. */
typedef struct gk_loss_args {
  size_t size;
  gk_loss_kind kind;
  int64_t rows, columns;  /* R, C */
  const float *x;         /* (R, C) */
  const int32_t *targets; /* (R), softmax: 0..C-1; negative: the row does not count */
  const int32_t
      *ignored_target;      /* one more target whose rows do not count, e.g. that of padding; NULL: none */
  const float *values;      /* (R, C), the others */
  const float *row_weights; /* (R), at least 0; NULL: 1 */
  float label_smoothing;    /* softmax: 0..1 */
  float positive_weight;    /* binary: factor of the positive part; 0: 1 */
  float huber_delta;        /* 0: 1 */
  float gradient_scale;
  double *loss; /* NULL: not wanted */
  float *dx;    /* (R, C), may be x; NULL: the loss alone */
  gk_isa isa;
  gk_math math;
  int threads; /* 0: gk_default_threads() */
} gk_loss_args;
#define GK_LOSS_ARGS_INIT                                                                                    \
  { .size = sizeof(gk_loss_args), .gradient_scale = 1 }
/* GK_ERROR_ARGUMENT, _UNSUPPORTED, _ISA, _OVERFLOW. */
GK_API gk_status gk_loss_gradient(const gk_loss_args *args);

/* ---- Pooling over time ----------------------------------------------------------------------- */

/* Many to one: a row (W) of each sample from the rows of its valid steps. Padding is not read; a sample
 * without a step gives zeros and takes no gradient.
 *   last  the state that the walk ends with: of t = length-1 forward, of t = 0 in reverse; of two directions
 *         side by side the first half of the columns is forward's (of directions that were added no last
 *         state can be told from y: it is the sum of hn)
 *   mean  the sum over t in ascending order, in blocks of 256 steps and these in blocks of 256, divided by
 *         the length; of float: where no value is negative it is within 5 10^-5 of itself up to 2^24 steps
 *   max   of each column; of equal ones the earliest step. A NaN is larger than any number */
typedef enum gk_pool { GK_POOL_LAST = 0, GK_POOL_MEAN, GK_POOL_MAX } gk_pool;
GK_API int gk_pool_count(void);
GK_API const char *gk_pool_name(gk_pool pool);
GK_API gk_status gk_pool_from_name(const char *name, gk_pool *pool);

typedef struct gk_pool_desc {
  size_t size;
  gk_pool pool;
  gk_direction direction; /* of the layer that gave y: matters to last */
  gk_layout layout;       /* of y */
  int64_t width;          /* W, floats of a row of y */
  gk_isa isa;
  int threads; /* 0: up to gk_default_threads(), fewer where work is small; else so many at most */
} gk_pool_desc;
#define GK_POOL_DESC_INIT                                                                                    \
  { .size = sizeof(gk_pool_desc) }

/* pooled (N, W) of y (T, N, W) or (N, T, W). lengths (N): NULL is all T. steps (N, W), which may be NULL,
 * takes the step of each maximum; -1 elsewhere. GK_ERROR_ARGUMENT, _ISA, _OVERFLOW (of max also for T above
 * INT32_MAX), here and below. */
GK_API gk_status gk_pool_forward(const gk_pool_desc *desc, int64_t time, int64_t batch,
                                 const int64_t *lengths, const float *y, float *pooled, int32_t *steps);
/* dy, all of it overwritten (0 in padding), of dpooled (N, W). steps: as max's forward left them; else may be
 * NULL. */
GK_API gk_status gk_pool_backward(const gk_pool_desc *desc, int64_t time, int64_t batch,
                                  const int64_t *lengths, const int32_t *steps, const float *dpooled,
                                  float *dy);

/* ---- Output layer and loss ------------------------------------------------------------------ */

/* outputs (R, V) = h (R, H) W^T + b, W = weight (V, H), b = bias (V), for R rows, and a loss of each row,
 * fused with its gradient. Outputs of all rows never exist in memory at once. Gradients of W and b sum rows
 * R-1 ... 0 in blocks (the order of BPTT).
 *
 * Weight tying: W may be another tensor, as a rule a network's embedding.weight (V, I) with I = H (Press and
 * Wolf 2017). Of a tied layer only the bias is a parameter; W is named where it is packed, and its gradient
 * goes where dweight points. The sum of both gradients, in this order: zeros in the network's gradients,
 * gk_output_loss with dweight = gradients + offset of embedding.weight, then gk_rnn_backward with accumulate,
 * which adds each of its finished gradients once. */
typedef struct gk_output_desc {
  size_t size;
  int64_t input_size;  /* H */
  int64_t output_size; /* V */
  gk_isa isa;
  gk_math math; /* of the sigmoid in losses of several labels */
  int threads;  /* 0: gk_default_threads() */
  bool tied;    /* W is not among the parameters */
} gk_output_desc;
#define GK_OUTPUT_DESC_INIT                                                                                  \
  { .size = sizeof(gk_output_desc) }

typedef struct gk_output gk_output;
GK_API gk_status gk_output_create(const gk_output_desc *desc, gk_output **output);
GK_API void gk_output_destroy(gk_output *output);
GK_API int gk_output_tensor_count(const gk_output *output); /* weight, bias; tied: bias */
GK_API gk_status gk_output_tensor(const gk_output *output, int index, gk_tensor *tensor);
GK_API int64_t gk_output_parameter_count(const gk_output *output);
GK_API gk_status gk_output_init(const gk_output *output, uint64_t seed,
                                float *parameters); /* U(+-1/sqrt(H)) */
GK_API gk_status gk_output_packed_bytes(const gk_output *output, unsigned flags, size_t *bytes);
GK_API gk_status gk_output_pack(const gk_output *output, unsigned flags, const float *parameters,
                                void *packed);
/* Of a tied layer: weight (V, H), bias (V). gk_output_init gives a tied layer the bias alone; the first of
 * these gives W, an embedding, the values that an output layer starts from too. */
GK_API gk_status gk_output_init_tied(const gk_output *output, uint64_t seed, float *weight, float *bias);
GK_API gk_status gk_output_pack_tied(const gk_output *output, unsigned flags, const float *weight,
                                     const float *bias, void *packed);
/* The same for any number of rows; GK_ERROR_OVERFLOW where so many do not fit, here and below. */
GK_API gk_status gk_output_workspace_bytes(const gk_output *output, int64_t rows, size_t *bytes);
/* logits (R, V) of h (R, H), without a loss; packed with GK_PACK_FORWARD. */
GK_API gk_status gk_output_forward(const gk_output *output, int64_t rows, const float *h, const void *packed,
                                   float *logits, void *workspace);

/* kind ... huber_delta as in gk_loss_args, with the layer's outputs as x. */
typedef struct gk_output_loss_args {
  size_t size;
  int64_t rows;
  const float *h;         /* (R, H); anything, NaN too, where a row has no loss */
  const int32_t *targets; /* (R), 0..V-1; a negative target is ignored: no loss, no gradient */
  const void *packed;     /* GK_PACK_FORWARD, and GK_PACK_BACKWARD if dh is asked for */
  double *loss;           /* sum over rows of weight times loss (softmax: nats); NULL: not wanted */
  float gradient_scale;   /* factor of dh and gradients, e.g. 1/R for the mean */
  float *dh;              /* (R, H); NULL: not computed */
  float *gradients;       /* layout of the parameters, overwritten; NULL: not computed */
  void *workspace;        /* of gk_output_workspace_bytes for `rows` */
  gk_loss_kind kind;
  const int32_t *ignored_target; /* one more target that is ignored; NULL: none */
  const float *values;           /* (R, V), all kinds but softmax */
  const float *row_weights;      /* (R), at least 0; NULL: 1 */
  float label_smoothing, positive_weight, huber_delta;
  float *dweight; /* tied, and only there: the gradient of W (V, H), overwritten; NULL: not computed */
} gk_output_loss_args;
#define GK_OUTPUT_LOSS_ARGS_INIT                                                                             \
  { .size = sizeof(gk_output_loss_args), .gradient_scale = 1 }
GK_API gk_status gk_output_loss(const gk_output *output, const gk_output_loss_args *args);

/* p[i] = softmax(logits / temperature)[i] over `count` values; deterministic on every tier; p may be logits.
 * A temperature below 1 / FLT_MAX counts as that: the likeliest values alone are left. All NaN where a logit
 * is NaN or +infinity, or all are -infinity, as in PyTorch, and beside -infinity at an infinite temperature.
 * The sum is one of float in 32 lanes, short beyond 2^24 equal terms a lane: p of more than 2^29 equal logits
 * adds up to more than 1. GK_ERROR_ARGUMENT, _ISA, _OVERFLOW. */
GK_API gk_status gk_softmax(gk_isa isa, int64_t count, float temperature, const float *logits, float *p);

/* ---- Decoders: feedback, attention, search -------------------------------------------------- */

/* A decoder is a recurrent stack (gk_rnn) whose input at step t is joined from up to three parts, in this
 * order:
 *   x_t                    a vector that the caller gives at every step; rnn.input_size = I floats, 0: none
 *   the output before      o_{t-1}: the embedding of a token, or a vector; what `feedback` says
 *   the attentional vector of the step before, h~_{t-1} (input feeding; Luong 2015), zero before any step
 * and whose output y_t is h_t of the last layer, or with attention over a source s_1 ... s_J, J <= Ts vectors
 *   score_j = h_t . s_j (dot; S = H)  or  h_t . W_a s_j (general; stored as W_q = W_a^T, (S, H))
 *   a = softmax(score) over the source's own length, c = sum_j a_j s_j, y_t = h~_t = tanh(W_c [c; h_t])
 * without biases, as in Luong, Pham, Manning 2015. A source of length 0 gives c = 0. Where something that the
 * network made itself goes from one step to the next the steps are taken in turn; where nothing does (teacher
 * forcing without input feeding) products are formed for many steps at once. The bits are the same.
 *
 * The courses' networks:
 *   output-to-hidden (Jordan 1986)  feedback output, rnn.recurrence none: o_{t-1} is fed instead of h_{t-1}
 *   one-to-many                     feedback output or token, rnn.input_size 0, sampling 1: `previous` or
 *                                   `tokens` at t = 0 starts it, each output feeds the next step
 *   encoder-decoder                 feedback token; h0, c0 from the encoder by gk_bridge, attention or not
 * Teacher forcing is sampling 0 (the default), free running 1, scheduled sampling between. */
typedef enum gk_feedback {
  GK_FEEDBACK_NONE = 0, /* the input is x_t (and h~_{t-1}) */
  GK_FEEDBACK_TOKEN,    /* embedding (E floats) of the token before; no gradient goes through its choice */
  GK_FEEDBACK_OUTPUT    /* o_{t-1} = f(W_o y_{t-1} + b_o), O floats; gradients go through it */
} gk_feedback;
typedef enum gk_attention { GK_ATTENTION_NONE = 0, GK_ATTENTION_DOT, GK_ATTENTION_GENERAL } gk_attention;
/* f of an output that is fed back as a vector. */
typedef enum gk_output_function {
  GK_OUTPUT_IDENTITY = 0,
  GK_OUTPUT_TANH,
  GK_OUTPUT_SIGMOID,
  GK_OUTPUT_SOFTMAX
} gk_output_function;
/* The token that a network chooses from its softmax: the most likely one (ties: the lower index; never one
 * whose logit is NaN, but 0 if all are), or one drawn. Where the softmax is NaN, as beside a logit that is
 * NaN or +infinity, there is nothing to draw by: the most likely one. */
typedef enum gk_choice { GK_CHOICE_GREEDY = 0, GK_CHOICE_SAMPLE } gk_choice;
GK_API int gk_feedback_count(void);
GK_API const char *gk_feedback_name(gk_feedback feedback);
GK_API gk_status gk_feedback_from_name(const char *name, gk_feedback *feedback);
GK_API int gk_attention_count(void);
GK_API const char *gk_attention_name(gk_attention attention);
GK_API gk_status gk_attention_from_name(const char *name, gk_attention *attention);
GK_API int gk_output_function_count(void);
GK_API const char *gk_output_function_name(gk_output_function function);
GK_API gk_status gk_output_function_from_name(const char *name, gk_output_function *function);
GK_API int gk_choice_count(void);
GK_API const char *gk_choice_name(gk_choice choice);
GK_API gk_status gk_choice_from_name(const char *name, gk_choice *choice);

typedef struct gk_decoder_desc {
  size_t size;
  gk_rnn_desc rnn; /* the stack and how it runs; its layout is that of every tensor here. direction must be
                      forward and vocabulary 0; input_size is I, the width of x, and may be 0 */
  gk_feedback feedback;
  int64_t vocabulary;     /* token: V tokens that can be fed */
  int64_t embedding_size; /* token: E */
  /* W_o, b_o: input_size is y's, output_size is O, or V with tokens. The caller's: it must outlive the
   * decoder, its parameters are apart. Tokens need it only where the network chooses (sampling > 0, chosen,
   * search). */
  const struct gk_output *output;
  gk_output_function output_function; /* of feedback output */
  gk_attention attention;
  int64_t source_size;    /* S, with attention */
  int64_t attention_size; /* A, floats of h~; 0: H */
  bool input_feeding;     /* h~_{t-1} is part of the input; needs attention */
} gk_decoder_desc;
#define GK_DECODER_DESC_INIT                                                                                 \
  { .size = sizeof(gk_decoder_desc), .rnn = GK_RNN_DESC_INIT }

typedef struct gk_decoder gk_decoder;
GK_API gk_status gk_decoder_create(const gk_decoder_desc *desc, gk_decoder **decoder);
GK_API void gk_decoder_destroy(gk_decoder *decoder);            /* NULL is allowed */
GK_API const gk_rnn *gk_decoder_rnn(const gk_decoder *decoder); /* its stack, which is the decoder's */
GK_API int64_t gk_decoder_size(const gk_decoder *decoder);      /* floats of y_t: A with attention, else H */
/* One array again: [embedding.weight (V, E),] the stack's tensors (input_size is all parts together),
 * [attention.query.weight (S, H),] [attention.combine.weight (A, S + H)]. */
GK_API int gk_decoder_tensor_count(const gk_decoder *decoder);
GK_API gk_status gk_decoder_tensor(const gk_decoder *decoder, int index, gk_tensor *tensor);
GK_API int64_t gk_decoder_parameter_count(const gk_decoder *decoder);
/* The stack and the embedding as gk_rnn_init, so with the numbers that a network of these sizes gets from
 * this seed: an encoder is given another one. Attention's matrices U(+-1/sqrt(fan in)), or Glorot's. */
GK_API gk_status gk_decoder_init(const gk_decoder *decoder, const gk_init_desc *desc, float *parameters);
GK_API gk_status gk_decoder_packed_bytes(const gk_decoder *decoder, unsigned flags, size_t *bytes);
GK_API gk_status gk_decoder_pack(const gk_decoder *decoder, unsigned flags, const float *parameters,
                                 void *packed);
/* With the stack's weight_dropout, as gk_rnn_pack_dropped. */
GK_API gk_status gk_decoder_pack_dropped(const gk_decoder *decoder, unsigned flags, const gk_random_key *key,
                                         const float *parameters, void *packed);
/* Ts is source_time. Inference keeps the rows of all T steps in its workspace. */
GK_API gk_status gk_decoder_memory_needed(const gk_decoder *decoder, int64_t time, int64_t batch,
                                          int64_t source_time, gk_rnn_memory *memory);

/* (T, N, .) stands for the layout of rnn.layout: batch-first is (N, T, .), a source (N, Ts, S). A sample is
 * one sequence: a decoder has no resets inside a call, as gk_rnn_forward_args.reset are. */
typedef struct gk_decoder_forward_args {
  size_t size;
  int64_t time, batch;
  const int64_t *lengths; /* (N), 0..T; NULL: all T */
  const float *x;         /* (T, N, I); NULL if I is 0 */
  /* What the teacher feeds: at t the output before, so the targets one step later; at t = 0 what starts it.
   * Past t = 0 not read with sampling 1. */
  const int32_t *tokens; /* (T, N), feedback token */
  const float *previous; /* (T, N, O), feedback output */
  float sampling;      /* probability with which each step past the first is fed what the network itself made,
                          instead of the teacher's; gk_teacher_probability. By `random`, time and sample */
  gk_choice choice;    /* of tokens */
  float temperature;   /* of GK_CHOICE_SAMPLE; 0: 1 */
  int64_t source_time; /* Ts, with attention */
  const int64_t *source_lengths; /* (N), 0..Ts; NULL: all Ts. What lies past a length is not read */
  const float *source;           /* (Ts, N, S) */
  const float *h0, *c0;          /* (L, N, H); NULL: the trained ones, or zero */
  const float *feed0;            /* (N, A): h~ before the first step, with input feeding; NULL: zero */
  const float *parameters;       /* needed with tokens (the embedding), else may be NULL */
  const void *packed;
  const void *output_packed; /* of desc.output, with GK_PACK_FORWARD */
  float *y;                  /* (T, N, A or H); 0 past a sample's length; may be NULL, and so may all below */
  float *outputs;            /* (T, N, O): o_t, feedback output; 0 past a length */
  int32_t *chosen; /* (T, N): the network's token after each step, feedback token; -1 past a length */
  int32_t *fed;    /* (T, N): the token that was fed, or 0 teacher and 1 network; -1 past a length */
  float *weights;  /* (T, N, Ts): attention weights, 0 past either length */
  float *hn, *cn;  /* (L, N, H); these and feedn may be h0, c0 and feed0 where no backward call follows */
  float *feedn;    /* (N, A): h~ after each sample's last step */
  gk_random_key random;
  void *reserve; /* NULL: inference, without dropout */
  void *workspace;
} gk_decoder_forward_args;
#define GK_DECODER_FORWARD_ARGS_INIT                                                                         \
  { .size = sizeof(gk_decoder_forward_args) }
/* Several calls give the bits of one over all their steps if h, c and feed are carried, random.first_time
 * goes on, and the first step of each, for which no coin of `sampling` is flipped, is fed what the one call
 * feeds there: the teacher's with sampling 0, what the call before made with sampling 1. GK_ERROR_ARGUMENT,
 * _OVERFLOW. */
GK_API gk_status gk_decoder_forward(const gk_decoder *decoder, const gk_decoder_forward_args *args);

/* Call it with what the forward call had, decoder included. GK_ERROR_ARGUMENT, _OVERFLOW. */
typedef struct gk_decoder_backward_args {
  size_t size;
  int64_t time, batch;
  const int64_t *lengths;
  int64_t source_time;
  const int64_t *source_lengths;
  const float *source;
  const float *h0, *c0;
  const float *parameters;
  const void *packed;        /* with GK_PACK_BACKWARD */
  const void *output_packed; /* with GK_PACK_BACKWARD; feedback output */
  const float *dy;           /* gradient of y, from gk_output_loss; NULL: zero */
  const float *doutputs;     /* gradient of outputs; NULL: zero */
  const float *dhn, *dcn;    /* (L, N, H); NULL: zero */
  const float *dfeedn;       /* (N, A); NULL: zero */
  float *dx;                 /* (T, N, I); NULL: not computed, and so on; 0 past a length */
  float *dprevious;          /* (T, N, O): 0 where the network fed itself */
  float *dsource;            /* (Ts, N, S): 0 past a length */
  float *dh0, *dc0, *dfeed0;
  float *gradients; /* layout of the parameters */
  /* Feedback output: what reaches W_o, b_o through o_t (doutputs and the feedback) is added here, after
   * gk_output_loss or zeros. */
  float *output_gradients;
  bool accumulate; /* add to `gradients` instead of overwriting them */
  float *dh_norms; /* (L, T, N): of h of each layer, as gk_rnn_backward_args has them; here the gradient also
                      comes from attention and from what is fed back. NULL: off */
  gk_random_key random;
  void *reserve; /* serves any number of backward calls: each has the bits that it would have as the first */
  void *workspace;
} gk_decoder_backward_args;
#define GK_DECODER_BACKWARD_ARGS_INIT                                                                        \
  { .size = sizeof(gk_decoder_backward_args) }
GK_API gk_status gk_decoder_backward(const gk_decoder *decoder, const gk_decoder_backward_args *args);

/* Probability with which the teacher's output is fed at optimizer step i = 0, 1, ... (Bengio et al. 2015):
 *   linear max(minimum, k - slope i), k in (minimum, 1];  exponential k^i, k < 1;
 *   inverse sigmoid k / (k + exp(i / k)), k >= 1
 * never below `minimum`. Computed in double and rounded. gk_decoder_forward's sampling is 1 minus it. */
typedef enum gk_teacher {
  GK_TEACHER_LINEAR = 0,
  GK_TEACHER_EXPONENTIAL,
  GK_TEACHER_INVERSE_SIGMOID
} gk_teacher;
GK_API int gk_teacher_count(void);
GK_API const char *gk_teacher_name(gk_teacher teacher);
GK_API gk_status gk_teacher_from_name(const char *name, gk_teacher *teacher);
GK_API float gk_teacher_probability(gk_teacher teacher, double k, double slope, double minimum, int64_t step);

/* Beam search with a decoder of feedback token, I = 0. At each step the continuations of a sample's live
 * hypotheses are ranked by log probability (ties: the lower hypothesis, then the lower token); of the first
 * 2 * beam, those that are `end` and among the first `beam` are finished, the first `beam` others live on. It
 * stops when `beam` are finished, or after `most` tokens, when what still lives is finished as it is.
 * Hypotheses come out in order of log probability / ((5 + length) / 6)^length_penalty (Wu et al. 2016;
 * `length` counts the end token; ties: finished first), 0: no normalisation. beam 1 is greedy search.
 *
 * Logits that are not finite: tokens of +infinity share all probability, those of -infinity and NaN have
 * none, and such ones never continue a hypothesis. Where none is above -infinity those that are it share all;
 * where all are NaN the hypothesis is dropped. Scores are never NaN. */
typedef struct gk_search_args {
  size_t size;
  int64_t batch, beam;  /* N; B, 1..V */
  int64_t most;         /* tokens of the longest hypothesis, >= 1 */
  const int32_t *start; /* (N): what is fed first */
  int32_t end;          /* a token of 0..V-1, or -1: nothing ends a hypothesis early */
  float length_penalty; /* finite */
  /* As in gk_decoder_forward_args: what is attended to, and the initial states of each sample. */
  int64_t source_time;
  const int64_t *source_lengths;
  const float *source;
  const float *h0, *c0, *feed0;
  const float *parameters;            /* the embedding is read */
  const void *packed, *output_packed; /* of the decoder and of its output layer, with GK_PACK_FORWARD */
  int32_t *tokens;  /* (N, B, most): best first; `end` where it came, -1 after a hypothesis */
  int64_t *lengths; /* (N, B): tokens, `end` among them; may be NULL */
  float *scores;    /* (N, B): normalised; may be NULL. -infinity: there was no such hypothesis (length 0) */
  void *workspace;  /* of gk_decoder_search_bytes */
} gk_search_args;
#define GK_SEARCH_ARGS_INIT                                                                                  \
  { .size = sizeof(gk_search_args), .beam = 1, .end = -1 }
GK_API gk_status gk_decoder_search_bytes(const gk_decoder *decoder, int64_t batch, int64_t beam, int64_t most,
                                         int64_t source_time, size_t *bytes);
/* GK_ERROR_ARGUMENT, _UNSUPPORTED (of another decoder), _OVERFLOW. */
GK_API gk_status gk_decoder_search(const gk_decoder *decoder, const gk_search_args *args);

/* From the final states of an encoder to the initial states of a decoder of other sizes, cells and
 * directions. Decoder layer l reads encoder layer max(0, L_e - L_d + l): the last ones match. With e the
 * encoder's h (D_e*H_e floats, both directions joined) and m its c, where it has one:
 *   copy    h0 = e, c0 = m (0 without memory); D_e*H_e must be H_d
 *   linear  h0 = W_h e + b_h, c0 = W_c (m, or e without memory) + b_c
 *   tanh    the same through tanh */
typedef enum gk_bridge_kind { GK_BRIDGE_COPY = 0, GK_BRIDGE_LINEAR, GK_BRIDGE_TANH } gk_bridge_kind;
GK_API int gk_bridge_count(void);
GK_API const char *gk_bridge_name(gk_bridge_kind kind);
GK_API gk_status gk_bridge_from_name(const char *name, gk_bridge_kind *kind);
typedef struct gk_bridge gk_bridge;
/* What it needs of both is copied: neither has to outlive it. */
GK_API gk_status gk_bridge_create(gk_bridge_kind kind, const gk_rnn *encoder, const gk_rnn *decoder,
                                  gk_bridge **bridge);
GK_API void gk_bridge_destroy(gk_bridge *bridge);
/* A layer's h.weight_l0 (H_d, D_e*H_e), h.bias_l0, then with memory c.weight_l0, c.bias_l0; none for copy. */
GK_API int gk_bridge_tensor_count(const gk_bridge *bridge);
GK_API gk_status gk_bridge_tensor(const gk_bridge *bridge, int index, gk_tensor *tensor);
GK_API int64_t gk_bridge_parameter_count(const gk_bridge *bridge);
GK_API gk_status gk_bridge_init(const gk_bridge *bridge, uint64_t seed,
                                float *parameters); /* U(+-1/sqrt(in)) */
GK_API gk_status gk_bridge_packed_bytes(const gk_bridge *bridge, unsigned flags, size_t *bytes);
GK_API gk_status gk_bridge_pack(const gk_bridge *bridge, unsigned flags, const float *parameters,
                                void *packed);
GK_API gk_status gk_bridge_workspace_bytes(const gk_bridge *bridge, int64_t batch, size_t *bytes);
/* hn, cn (L_e*D_e, N, H_e) -> h0, c0 (L_d, N, H_d); cn, c0 are NULL in networks without memory. */
GK_API gk_status gk_bridge_forward(const gk_bridge *bridge, int64_t batch, const float *hn, const float *cn,
                                   const void *packed, float *h0, float *c0, void *workspace);
/* dh0, dc0 -> dhn, dcn (overwritten), gradients (overwritten; NULL: not computed). h0, c0 are forward's. */
typedef struct gk_bridge_backward_args {
  size_t size;
  int64_t batch;
  const float *hn, *cn, *h0, *c0;
  const void *packed; /* with GK_PACK_BACKWARD */
  const float *dh0, *dc0;
  float *dhn, *dcn;
  float *gradients;
  void *workspace;
} gk_bridge_backward_args;
#define GK_BRIDGE_BACKWARD_ARGS_INIT                                                                         \
  { .size = sizeof(gk_bridge_backward_args) }
GK_API gk_status gk_bridge_backward(const gk_bridge *bridge, const gk_bridge_backward_args *args);

/* ---- Optimizers ---------------------------------------------------------------------------- */

/* Formulas and defaults are PyTorch's (torch.optim); the state starts as zeros, which RMSprop and Adagrad
 * take as PyTorch does. g is the gradient after gradient_scale, plus weight_decay * parameter but for adamw.
 *   sgd      b = momentum * b + g (first step: b = g); p -= lr * b, nesterov p -= lr * (g + momentum * b)
 *   rmsprop  v = alpha * v + (1 - alpha) * g^2; p -= lr * g / (sqrt(v) + epsilon)
 *   adagrad  s += g^2; p -= lr / (1 + (step - 1) * rate_decay) * g / (sqrt(s) + epsilon)
 *   adam     Kingma and Ba 2015 with bias correction
 *   adamw    p *= 1 - lr * weight_decay, then adam                     (Loshchilov and Hutter 2019) */
typedef enum gk_optimizer_kind {
  GK_OPTIMIZER_SGD = 0,
  GK_OPTIMIZER_RMSPROP,
  GK_OPTIMIZER_ADAM,
  GK_OPTIMIZER_ADAGRAD,
  GK_OPTIMIZER_ADAMW
} gk_optimizer_kind;
typedef struct gk_optimizer_desc {
  size_t size;
  gk_optimizer_kind kind;
  float momentum;     /* SGD */
  float beta1, beta2; /* Adam, AdamW */
  float alpha;        /* RMSprop */
  float epsilon;      /* with 0 a parameter without any gradient so far becomes NaN: 0 / 0, as in PyTorch */
  float weight_decay; /* added to the gradient as weight_decay * parameter; AdamW: shrinks the parameter */
  gk_isa isa;
  int threads;      /* 0: up to gk_default_threads(), fewer where work is small */
  bool nesterov;    /* SGD with momentum */
  float rate_decay; /* Adagrad */
} gk_optimizer_desc;
#define GK_OPTIMIZER_DESC_INIT                                                                               \
  {                                                                                                          \
    .size = sizeof(gk_optimizer_desc), .kind = GK_OPTIMIZER_ADAM, .beta1 = 0.9f, .beta2 = 0.999f,            \
    .alpha = 0.99f, .epsilon = 1e-8f                                                                         \
  }
GK_API int gk_optimizer_count(void);
GK_API const char *gk_optimizer_name(gk_optimizer_kind kind);
GK_API gk_status gk_optimizer_from_name(const char *name, gk_optimizer_kind *kind);
/* PyTorch's defaults of this kind: GK_OPTIMIZER_DESC_INIT, but epsilon 1e-10 for Adagrad and weight_decay
 * 0.01 for AdamW. */
GK_API gk_status gk_optimizer_defaults(gk_optimizer_kind kind, gk_optimizer_desc *desc);
/* Floats of state for `count` parameters; the state starts as zeros. */
GK_API gk_status gk_optimizer_state_count(const gk_optimizer_desc *desc, int64_t count, int64_t *floats);
/* Step number `step` (from 1) on `count` parameters. Each gradient is multiplied by gradient_scale first
 * (clipping); the gradients themselves are not changed. A negative rate climbs. What is not finite as a float
 * would spoil every parameter at once: GK_ERROR_ARGUMENT for such a learning rate or scale, and for such a
 * factor made of the rate, lr / (1 - beta1^step) of adam and adamw, 1 - lr * weight_decay of adamw. */
GK_API gk_status gk_optimizer_step(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                                   float gradient_scale, int64_t count, float *parameters,
                                   const float *gradients, float *state);
/* The same for several arrays in one go, cut over the threads as if they were one. */
typedef struct gk_optimizer_part {
  int64_t count;
  float *parameters;
  const float *gradients;
  float *state; /* gk_optimizer_state_count(count) floats; NULL if that is 0 */
  float gradient_scale;
} gk_optimizer_part;
GK_API gk_status gk_optimizer_step_parts(const gk_optimizer_desc *desc, int64_t step, double learning_rate,
                                         int parts, const gk_optimizer_part *part);

/* Of the calls below that take arrays: `parts` of them, of counts[i] floats each; threads as in
 * gk_optimizer_desc.
 *
 * The Euclidean norm over all arrays, in one fixed order whatever the threads. Squares are summed as floats:
 * with values above about 1e19 it is infinite, as PyTorch's, and what is below 1e-19 counts little or
 * nothing. */
GK_API gk_status gk_gradient_norm(gk_isa isa, int threads, int parts, const float *const *gradients,
                                  const int64_t *counts, double *norm);
/* The gradient_scale that clips a norm to max_norm: min(1, max_norm / (norm + 1e-6)), as
 * torch.nn.utils.clip_grad_norm_; 1 if max_norm is not above 0, or the norm is NaN, which no factor mends. */
GK_API float gk_clip_scale(double norm, double max_norm);
/* Every value of the arrays within +-limit, in place (torch.nn.utils.clip_grad_value_). A NaN stays. Where
 * values and norms are both clipped, values come first. */
GK_API gk_status gk_clip_values(gk_isa isa, int threads, int parts, float *const *gradients,
                                const int64_t *counts, float limit);
/* Every array, as a rule a tensor, is multiplied by the gk_clip_scale of its own norm, in place; norms
 * (parts) of before may be NULL. */
GK_API gk_status gk_clip_norms(gk_isa isa, int threads, int parts, float *const *gradients,
                               const int64_t *counts, double max_norm, double *norms);

/* How the learning rate goes, a step after the other, from step 1 on:
 *   constant
 *   cosine    half a cosine from learning_rate down to minimum_learning_rate at step `steps` + 1
 *             (CosineAnnealingLR)
 *   step      times `factor` after every `period` steps (StepLR), never below that
 *   plateau   times `factor` where a measured loss has not fallen for more than `patience` measurements
 *             (ReduceLROnPlateau without its eps, which passes over falls of at most 1e-8), never below that
 * A warm-up comes before any of them: step s <= warmup has learning_rate * s / warmup, and the decay counts
 * its steps from there (LinearLR in SequentialLR). */
typedef enum gk_decay { GK_DECAY_CONSTANT = 0, GK_DECAY_COSINE, GK_DECAY_STEP, GK_DECAY_PLATEAU } gk_decay;
GK_API int gk_decay_count(void);
GK_API const char *gk_decay_name(gk_decay decay);
GK_API gk_status gk_decay_from_name(const char *name, gk_decay *decay);
typedef struct gk_learning_rate_desc {
  size_t size;
  gk_decay decay;
  double learning_rate;
  double minimum_learning_rate;
  int64_t steps;    /* cosine; 0: not known yet, no decay */
  int64_t warmup;   /* 0: none */
  int64_t period;   /* step */
  double factor;    /* step, plateau; above 0, at most 1 */
  int64_t patience; /* plateau */
  double threshold; /* plateau: a loss has fallen if it is below best * (1 - threshold) */
  int64_t interval; /* plateau: steps from one measurement to the next; 0: not said. No rate is computed from
                       it: it is kept with a run for whoever measures */
} gk_learning_rate_desc;
#define GK_LEARNING_RATE_DESC_INIT                                                                           \
  {                                                                                                          \
    .size = sizeof(gk_learning_rate_desc), .learning_rate = 1e-3, .period = 1000, .factor = 0.1,             \
    .patience = 10, .threshold = 1e-4                                                                        \
  }
/* What a plateau remembers: zeros at first. Kept with a checkpoint, it resumes exactly. */
typedef struct gk_learning_rate_state {
  int64_t measured; /* losses so far */
  int64_t bad;      /* in a row that have not fallen */
  int64_t reduced;  /* times that the rate was */
  double best;      /* loss so far; infinite if none was a number */
} gk_learning_rate_state;
/* Names the field that does not fit. */
GK_API gk_status gk_learning_rate_check(const gk_learning_rate_desc *desc);
/* The rate of step `step` (from 1); state may be NULL where no plateau is. Computed in double and rounded to
 * float, so that it is the same number on every machine. NaN, which gk_optimizer_step refuses, for what
 * gk_learning_rate_check refuses and for a plateau without state; gk_last_error then says why. */
GK_API double gk_learning_rate(const gk_learning_rate_desc *desc, const gk_learning_rate_state *state,
                               int64_t step);
/* A measured loss, for example of validation; does nothing but for a plateau. NaN and infinity have not
 * fallen, not even as the first loss. What gk_learning_rate has no rate for changes nothing; gk_last_error
 * then says why. */
GK_API void gk_learning_rate_measure(const gk_learning_rate_desc *desc, gk_learning_rate_state *state,
                                     double loss);

/* ---- Random numbers ------------------------------------------------------------------------ */

/* Counter-based (Philox 4x32, Random123): value number `index` of stream `stream` of `seed`.
 * Uniform in [0, 1), 24 bits; the same on every machine. */
GK_API float gk_uniform(uint64_t seed, uint64_t stream, uint64_t index);

#ifdef __cplusplus
}
#endif
#endif
