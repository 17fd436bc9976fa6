/* SPDX-License-Identifier: Apache-2.0
 *
 * gatekern-train: files and tasks on top of libgatekern. safetensors, checkpoints, and a language model
 * that is trained, evaluated, sampled, saved and resumed.
 *
 * Conventions, status codes and gk_last_error() are those of gatekern.h. Objects here own their memory.
 * Unlike those of gatekern.h, an object that a call changes (a trainer, a sampler) belongs to one thread at a
 * time.
 */
#ifndef GATEKERN_TRAIN_H
#define GATEKERN_TRAIN_H

#include <gatekern.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- safetensors ---------------------------------------------------------------------------- */

typedef enum gk_dtype { GK_DTYPE_F32 = 0, GK_DTYPE_I64, GK_DTYPE_U8 } gk_dtype;
GK_API int gk_dtype_count(void);
GK_API const char *gk_dtype_name(gk_dtype dtype); /* as in files: F32, I64, U8 */
GK_API gk_status gk_dtype_from_name(const char *name, gk_dtype *dtype);
GK_API size_t gk_dtype_bytes(gk_dtype dtype);

#define GK_FILE_MAX_RANK 8
typedef struct gk_file_tensor {
  const char *name;
  gk_dtype dtype;
  int rank;
  int64_t shape[GK_FILE_MAX_RANK];
  const void *data; /* to be written, dense and row-major; NULL in what a reader returns */
} gk_file_tensor;

typedef struct gk_file_metadata {
  const char *key, *value;
} gk_file_metadata;

/* Opens a file and checks all of it that can be checked without reading the tensors: the header's length
 * against the file's, strict JSON without duplicate keys, known types, shapes whose sizes do not wrap,
 * tensors that fill the file from end to end without hole or overlap. Nothing is allocated by a size that
 * the file claims before that claim has been checked. GK_ERROR_IO, _FORMAT, _MEMORY, and _UNSUPPORTED for
 * values of types that are not in enum gk_dtype. */
typedef struct gk_safetensors gk_safetensors;
GK_API gk_status gk_safetensors_open(const char *path, gk_safetensors **file);
GK_API void gk_safetensors_close(gk_safetensors *file); /* NULL is allowed */
GK_API int gk_safetensors_count(const gk_safetensors *file);
/* Tensor number `index` in the order of the file; the name lives as long as the file is open. */
GK_API gk_status gk_safetensors_tensor(const gk_safetensors *file, int index, gk_file_tensor *tensor);
GK_API int gk_safetensors_find(const gk_safetensors *file, const char *name); /* -1: not there */
/* The tensor's content; `bytes` must be its size. */
GK_API gk_status gk_safetensors_read(const gk_safetensors *file, int index, void *data, size_t bytes);
/* A string of __metadata__; NULL: not there. */
GK_API const char *gk_safetensors_metadata(const gk_safetensors *file, const char *key);

/* Writes a file so that at every moment, through a crash or a power cut, `path` is either the old file or
 * the new one: temporary file `path`.savingN, write, fsync, rename, fsync of the folder. What a killed save
 * left is replaced by the next one (where the file system has no locks, it stays). A symbolic link is
 * followed; anything that exists and is not a regular file is refused. On failure the old file is intact and
 * the temporary file is gone; but for a failed fsync of the folder: then the new file is there, and a power
 * cut may bring back the old one. Any number of threads and processes may save to one path: the last one
 * wins. (Of several machines where they share a folder without sharing its locks: one at a time.) */
GK_API gk_status gk_safetensors_save(const char *path, int count, const gk_file_tensor *tensors,
                                     int metadata_count, const gk_file_metadata *metadata);
/* Whether gk_safetensors_save can write there, tried out with an empty temporary file; and, if the file
 * exists, whether it is a safetensors file, of whatever types: so that a mistyped name does not cost another
 * file. */
GK_API gk_status gk_safetensors_can_save(const char *path);

/* ---- Language model ------------------------------------------------------------------------- */

/* A character-level model: embedding, recurrent layers, output layer, and its symbols, which are bytes or
 * Unicode code points in ascending order.
 *
 * Its file is safetensors with the names and shapes of a PyTorch module that has the attributes
 * embedding (nn.Embedding), rnn (nn.LSTM, nn.GRU, nn.RNN) and output (nn.Linear; with tied weights its weight
 * is the embedding's, and the file has only the latter); the description and the symbols are one JSON string,
 * "gatekern" in __metadata__. "checksum" there is a hash of the content; whoever changes weights by other
 * means drops that key. */
typedef struct gk_language_model gk_language_model;

typedef struct gk_language_model_desc {
  size_t size; /* sizeof(gk_language_model_desc) */
  /* The recurrent layers, all that a network can be, and their plan. input_size is the embedding's;
   * vocabulary is 0 here, it is the texts'; the layout is time-major; the direction is forward, since any
   * other has seen the characters that the model is to predict. Trained states are what every text begins
   * from. Regularisation acts in training and in gk_language_model_gradient_flow, never when a model is
   * evaluated or sampled from, where zoneout takes its mean (gk_rnn_desc). */
  gk_rnn_desc network;
  bool utf8; /* symbols are code points instead of bytes */
  bool tied; /* the output layer's weight is the embedding (then network.input_size is the size of the last
                layer's h) */
} gk_language_model_desc;
#define GK_LANGUAGE_MODEL_DESC_INIT                                                                          \
  {                                                                                                          \
    .size = sizeof(gk_language_model_desc), .network = {                                                     \
      .size = sizeof(gk_rnn_desc),                                                                           \
      .cell = GK_CELL_LSTM,                                                                                  \
      .input_size = 256,                                                                                     \
      .hidden_size = 256,                                                                                    \
      .layers = 1                                                                                            \
    }                                                                                                        \
  }

/* A text of `bytes` bytes; it need not end with a zero. */
typedef struct gk_text {
  const void *data;
  size_t bytes;
} gk_text;

/* Only isa, math, schedule and threads of `plan->network` are read; NULL: the defaults. GK_ERROR_FORMAT for
 * weights that are not finite, too. */
GK_API gk_status gk_language_model_load(const char *path, const gk_language_model_desc *plan,
                                        gk_language_model **model);
GK_API void gk_language_model_destroy(gk_language_model *model); /* NULL is allowed */
GK_API gk_status gk_language_model_save(const gk_language_model *model, const char *path);
GK_API const gk_language_model_desc *gk_language_model_description(const gk_language_model *model);
/* Symbols in ascending order, and how many (count may be NULL). */
GK_API const uint32_t *gk_language_model_symbols(const gk_language_model *model, int64_t *count);
/* The text without the characters that are no symbols, into `kept` (text->bytes bytes that do not overlap the
 * text; NULL: only counted). GK_ERROR_FORMAT where symbols are code points and the text is not UTF-8. */
typedef struct gk_known_text {
  size_t bytes;       /* of what is kept */
  int64_t characters; /* of the whole text */
  int64_t unknown;    /* of these, left out */
} gk_known_text;
GK_API gk_status gk_language_model_keep_known(const gk_language_model *model, const gk_text *text, void *kept,
                                              gk_known_text *result);
GK_API int64_t gk_language_model_parameter_count(const gk_language_model *model);
/* Every parameter as one array: those of the gk_rnn, then those of the gk_output. */
GK_API const float *gk_language_model_parameters(const gk_language_model *model);

/* Tells how far a long call on the model is: an evaluation that `done` of `total` characters are predicted,
 * at `nats` each in the mean; gk_language_model_gradient_flow before each spectral radius how many are known
 * (nats 0). Called with done 0 first, in the thread that makes the call; results do not depend on it. watcher
 * NULL: nobody. */
typedef void gk_language_watcher(void *context, int64_t done, int64_t total, double nats);
GK_API void gk_language_model_watch(gk_language_model *model, gk_language_watcher *watcher, void *context);

/* Mean cross-entropy of each character given those before it, in nats. The text is cut into one stream for
 * each 2048 characters, at most 64, which start from the trained states, or zero; the first character of the
 * text is not predicted. Bits per character are nats / ln 2. GK_ERROR_FORMAT names a character that is no
 * symbol, or says that the loss is not finite. */
typedef struct gk_language_loss {
  double nats;
  int64_t characters; /* predicted */
} gk_language_loss;
GK_API gk_status gk_language_model_evaluate(const gk_language_model *model, const gk_text *text,
                                            gk_language_loss *loss);

/* The same text under teacher forcing, as above, and free-running: each stream is cut into runs of `length`
 * characters; a run starts from the state and the character that the text itself leaves there, and every
 * later input is what the model has chosen after the one before. Both losses are those of the text's own
 * characters, so that their difference is what training (always on true inputs) does not see of generating.
 * Distance 1, a run's first character, is teacher forcing itself. */
typedef struct gk_free_running_desc {
  size_t size;
  int64_t length;    /* characters of a run, at least 1 */
  float temperature; /* of what the model chooses, see gk_sampler_desc; 0: always the likeliest symbol */
  uint64_t seed;
} gk_free_running_desc;
#define GK_FREE_RUNNING_DESC_INIT                                                                            \
  { .size = sizeof(gk_free_running_desc), .length = 16, .temperature = 1 }
typedef struct gk_free_running_loss {
  double forced_nats, free_nats; /* mean of a character */
  int64_t characters;            /* predicted, by each */
} gk_free_running_loss;
/* nats_at (length), NULL: not wanted: the mean free-running loss of the characters at distance 1, 2, ... from
 * the last true input; NAN where no run is so long. */
GK_API gk_status gk_language_model_evaluate_free_running(const gk_language_model *model, const gk_text *text,
                                                         const gk_free_running_desc *desc,
                                                         gk_free_running_loss *loss, double *nats_at);

/* How gradients flow through a model: the text's first batch * time + 1 characters as `batch` streams from
 * the trained states, or zero; the loss is that of each stream's last character alone, the mean of them.
 * norms (L, T) is the Euclidean norm, over the batch, of its gradient by h of each layer and step; radii
 * (L, G) the spectral radius of each gate's recurrent matrix (gk_rnn_spectral_radii). Either may be NULL.
 * Random masks are those of seed 0. */
GK_API gk_status gk_language_model_gradient_flow(const gk_language_model *model, const gk_text *text,
                                                 int64_t time, int64_t batch, double *norms, double *radii);

/* Generates text. The same seed, prompt and model give the same text everywhere. */
typedef struct gk_sampler gk_sampler;
typedef struct gk_sampler_desc {
  size_t size;
  float temperature; /* > 0 divides the logits; 0: always the likeliest symbol */
  int64_t top_k;     /* only the k likeliest symbols; 0: all */
  uint64_t seed;
} gk_sampler_desc;
#define GK_SAMPLER_DESC_INIT                                                                                 \
  { .size = sizeof(gk_sampler_desc), .temperature = 1 }
/* The model must outlive the sampler. */
GK_API gk_status gk_sampler_create(const gk_language_model *model, const gk_sampler_desc *desc,
                                   gk_sampler **sampler);
GK_API void gk_sampler_destroy(gk_sampler *sampler);
/* Reads a text. A sampler that has read nothing when it first generates begins as after a line feed (or,
 * where that is no symbol, after the first symbol). */
GK_API gk_status gk_sampler_prompt(gk_sampler *sampler, const gk_text *prompt);
/* One character: its bytes, 1 to 4, and their number. */
GK_API gk_status gk_sampler_next(gk_sampler *sampler, char bytes[4], int *count);

/* ---- Training ------------------------------------------------------------------------------- */

/* The training text is cut into `batch` streams of equal length that are read side by side, `time`
 * characters a step; the hidden state is carried from step to step and starts from the trained states, or
 * zero, in each epoch. Each character but the first is a target once an epoch; the last step of an epoch is
 * shorter if it must be. The loss is the mean over a step's targets. Weights after any step are the same bits
 * for every instruction set, number of threads, and schedule. */
typedef struct gk_training_desc {
  size_t size;
  int64_t batch; /* N: streams */
  int64_t time;  /* T: characters of each stream a step */
  int64_t steps; /* planned; the learning rate's decay ends there. 0: unknown, no decay */
  gk_optimizer_kind optimizer;
  float momentum; /* SGD */
  double learning_rate;
  gk_decay decay;
  double minimum_learning_rate;
  double clip_norm;  /* of the gradient over all parameters; 0: not clipped */
  gk_init init;      /* of the recurrent layers; the output layer is U(+-1/sqrt(H)) */
  float forget_bias; /* added to the LSTM's */
  uint64_t seed;     /* of initial weights and dropout */
  double validation; /* share of the text, its end, that is kept for validation; 0 <= share < 1 */
  /* Truncated BPTT with k1 = time and k2 = backward_time (Williams and Peng 1990; Sutskever 2013): a step
   * goes on by k1 characters, whose loss it takes, and carries the gradient back through the last k2 of them
   * all, with today's weights over all of these. At least `time`; 0: time. */
  int64_t backward_time;
  bool nesterov;           /* SGD with momentum */
  float weight_decay;      /* as the optimizer has it; 0: none */
  float label_smoothing;   /* 0..1, see enum gk_loss_kind; the reported loss has it too, validation has not */
  double clip_value;       /* each value of the gradient, before its norm; 0: not clipped */
  double clip_tensor_norm; /* of each tensor's gradient, after values and before the whole; 0: not clipped */
  int64_t warmup;          /* this and the following: gk_learning_rate_desc */
  int64_t decay_period;    /* of GK_DECAY_STEP */
  double decay_factor;     /* of GK_DECAY_STEP and _PLATEAU, which measures the loss of each validation */
  int64_t decay_patience;
  double decay_threshold;
  int64_t decay_interval;
} gk_training_desc;
#define GK_TRAINING_DESC_INIT                                                                                \
  {                                                                                                          \
    .size = sizeof(gk_training_desc), .batch = 32, .time = 64, .optimizer = GK_OPTIMIZER_ADAM,               \
    .learning_rate = 4e-3, .clip_norm = 5, .validation = 0.05, .decay_period = 1000, .decay_factor = 0.1,    \
    .decay_patience = 10, .decay_threshold = 1e-4                                                            \
  }

/* The fields of a gk_training_desc as options, for files and command lines: one list
 * (src/tasks/training_options.c). */
typedef enum gk_option_type {
  GK_OPTION_FLAG = 0, /* bool */
  GK_OPTION_INTEGER,  /* int64_t */
  GK_OPTION_SEED,     /* uint64_t, every value */
  GK_OPTION_FLOAT,
  GK_OPTION_DOUBLE,
  GK_OPTION_CHOICE /* an enum, whose values have names */
} gk_option_type;
typedef struct gk_training_option {
  const char *field;    /* its name, which is also the key in files */
  size_t offset, bytes; /* where it stands in a gk_training_desc */
  gk_option_type type;
  const char *name;                 /* on a command line: "lr"; NULL: in files alone */
  const char *group, *help, *value; /* heading, a line, what the value is called; NULL: a flag, a choice */
  double minimum, maximum;          /* what a command line takes; both 0: all that its type has */
  size_t rate_offset;               /* of the field in a gk_learning_rate_desc that it sets; 0: none */
  const char *(*choice)(int index); /* GK_OPTION_CHOICE: names in the enum's order, NULL after the last */
} gk_training_option;
/* The first one after NULL; NULL after the last. */
GK_API const gk_training_option *gk_training_option_after(const gk_training_option *option);

typedef struct gk_language_trainer gk_language_trainer;

/* What a trainer of these arguments is, known before any of its memory is taken. Errors are those of
 * gk_language_trainer_create, but for lack of memory. */
typedef struct gk_training_size {
  int64_t training_characters;   /* of the text */
  int64_t validation_characters; /* 0: nothing to validate on */
  int64_t steps_per_epoch;
  int64_t symbols;    /* different ones, of both texts */
  int64_t parameters; /* of the model */
  size_t bytes;       /* of the trainer with its model, before gk_allocate rounds buffers up to whole pages */
} gk_training_size;
GK_API gk_status gk_language_trainer_size(const gk_language_model_desc *model,
                                          const gk_training_desc *training, const gk_text *text,
                                          const gk_text *validation, gk_training_size *size);

/* `validation`: a text of its own; NULL: the end of `text`, by the share in `training`. The symbols are those
 * of both. The texts are not needed after the call. GK_ERROR_ARGUMENT also for fewer than batch * time + 1
 * characters to train on or two to validate on, and for what gk_rnn_dropout_check refuses. */
GK_API gk_status gk_language_trainer_create(const gk_language_model_desc *model,
                                            const gk_training_desc *training, const gk_text *text,
                                            const gk_text *validation, gk_language_trainer **trainer);
GK_API void gk_language_trainer_destroy(gk_language_trainer *trainer); /* NULL is allowed */
GK_API const gk_training_desc *gk_language_trainer_description(const gk_language_trainer *trainer);
/* The model that is being trained; it changes with each step. */
GK_API const gk_language_model *gk_language_trainer_model(const gk_language_trainer *trainer);

typedef struct gk_language_progress {
  int64_t step; /* done since the beginning */
  int64_t steps_per_epoch;
  int64_t training_characters;   /* of the text */
  int64_t validation_characters; /* 0: nothing to validate on */
  double best_loss;              /* of gk_language_trainer_validate, nats; infinite before the first */
  int64_t best_step;
  double learning_rate; /* of the next step */
} gk_language_progress;
GK_API void gk_language_trainer_progress(const gk_language_trainer *trainer, gk_language_progress *progress);

/* What the time of a step goes to. */
typedef enum gk_training_part {
  GK_PART_DATA = 0, /* symbols read from the text */
  GK_PART_FORWARD,  /* the recurrent layers */
  GK_PART_OUTPUT,   /* output layer, softmax, loss, and their gradients */
  GK_PART_BACKWARD, /* the recurrent layers */
  GK_PART_CLIP,     /* the gradient's norm */
  GK_PART_UPDATE,   /* optimizer */
  GK_PART_PACK      /* new weights for the kernels */
} gk_training_part;
enum { GK_TRAINING_PARTS = GK_PART_PACK + 1 };
GK_API int gk_training_part_count(void);
GK_API const char *gk_training_part_name(gk_training_part part); /* data, forward, ... */
GK_API gk_status gk_training_part_from_name(const char *name, gk_training_part *part);

typedef struct gk_training_step {
  int64_t step;       /* this one, from 1 */
  double loss;        /* mean over the targets, nats, before the update */
  int64_t characters; /* targets */
  double learning_rate;
  double gradient_norm; /* before clipping */
  float clip_scale;     /* that the gradients were multiplied by */
  /* Floating-point operations of the products, 2 a multiplication and addition, forward + backward:
   *   3 * 2 * (the first layer's U * G*H*E + N*T' * all its other weights and the layers' above + N*T*H*V)
   * where T' is the steps that are read, up to backward_time, and U the number of distinct characters in the
   * step (with input dropout N*T): the work that was done, not the work that one-hot or dense inputs would
   * have cost. */
  double operations;
  double seconds[GK_TRAINING_PARTS]; /* by gk_training_part */
} gk_training_step;
/* One step: forward, backward, clipping, update. GK_ERROR_ARGUMENT, and the weights as they were, if the
 * loss or the gradient is not finite. Of a step that fails on its way *report holds what was known by then,
 * its number at least, for whoever says where training stopped; the rest of it is 0. */
GK_API gk_status gk_language_trainer_step(gk_language_trainer *trainer, gk_training_step *report);
/* The loss on the validation text; `improved` (may be NULL): it is the lowest so far, and remembered. One
 * that is not finite is returned with GK_OK, and has not improved. */
GK_API gk_status gk_language_trainer_validate(gk_language_trainer *trainer, gk_language_loss *loss,
                                              bool *improved);
/* What is remembered as the lowest loss so far, in nats (infinite: none), and its step, for a caller who
 * could not keep the model of the last one: what it was before. GK_ERROR_ARGUMENT. */
GK_API gk_status gk_language_trainer_set_best(gk_language_trainer *trainer, double loss, int64_t step);
/* Back to the initial weights, at step 0; a rate that was set stays. GK_ERROR_ARGUMENT, _MEMORY. */
GK_API gk_status gk_language_trainer_restart(gk_language_trainer *trainer);
/* From the next step on. Another learning_rate or factor than before is not reduced by what a plateau reduced
 * so far. GK_ERROR_ARGUMENT. */
GK_API gk_status gk_language_trainer_set_learning_rate(gk_language_trainer *trainer,
                                                       const gk_learning_rate_desc *desc);
/* What it is now. */
GK_API void gk_language_trainer_learning_rate(const gk_language_trainer *trainer,
                                              gk_learning_rate_desc *desc);

/* Everything that training needs to go on: a model's file with the tensors of the optimizer and of the
 * carried state beside the weights (so that it can be evaluated and sampled as well). */
GK_API gk_status gk_language_trainer_save(const gk_language_trainer *trainer, const char *path);
/* Goes on as if never interrupted: the weights after any later step are the bits of an unbroken run. The
 * texts must be those of that run (GK_ERROR_ARGUMENT). Only the plan of `plan` is read; NULL: defaults. */
GK_API gk_status gk_language_trainer_resume(const char *path, const gk_language_model_desc *plan,
                                            const gk_text *text, const gk_text *validation,
                                            gk_language_trainer **trainer);

/* What the file of a model or of a trainer says of itself, without its tensors: known at once whatever its
 * size, but not checked against the checksum. */
typedef struct gk_language_file {
  gk_language_model_desc model; /* no plan; network.hidden_sizes points to the following */
  int64_t *hidden_sizes;   /* one for each layer, for gk_free; NULL: network.hidden_size is that of all */
  bool trainer;            /* a trainer's; else the following are 0 */
  int64_t step, best_step; /* as gk_language_progress has them */
  double best_loss;
} gk_language_file;
/* GK_ERROR_ARGUMENT, _IO, _FORMAT, _MEMORY, and _UNSUPPORTED for what a later version wrote. */
GK_API gk_status gk_language_file_describe(const char *path, gk_language_file *about);

#ifdef __cplusplus
}
#endif
#endif
