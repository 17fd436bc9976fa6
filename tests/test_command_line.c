/* SPDX-License-Identifier: Apache-2.0
 *
 * The program as people use it: bad input is one line and exit code 2 and changes no file; training,
 * evaluating, sampling; interrupted, killed and resumed runs end with the files of an unbroken one. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/temporary_folder.h"

/* ---- Running the program ---- */

enum { MOST_ARGUMENTS = 40 };

struct result {
  int exit_code; /* 128 + signal if it was killed */
  char *out, *err;
};

struct run {
  const char *input, *output; /* files; NULL: /dev/null, and a file of the temporary folder */
  rlim_t largest_file;        /* 0: unlimited */
};

static const char *program(void) {
  const char *path = getenv("GATEKERN_PROGRAM");
  return path ? path : GATEKERN_PROGRAM;
}

static void redirect(int descriptor, const char *path, int flags) {
  const int opened = open(path, flags, 0666);
  if (opened < 0 || dup2(opened, descriptor) < 0)
    _exit(126);
}

/* `line` is cut at spaces; @ in it is the temporary folder. */
static pid_t start(const char *line, const struct run *run) {
  char text[1024], *arguments[MOST_ARGUMENTS + 2];
  size_t used = 0;
  for (const char *c = line; *c; ++c)
    if (*c == '@')
      used += (size_t)snprintf(text + used, sizeof text - used, "%s", temporary_folder());
    else if (used < sizeof text - 1)
      text[used++] = *c;
  text[used] = '\0';
  int count = 0;
  arguments[count++] = (char *)program();
  for (char *word = strtok(text, " "); word && count <= MOST_ARGUMENTS; word = strtok(NULL, " "))
    arguments[count++] = word;
  arguments[count] = NULL;
  const char *out = run->output ? run->output : temporary_path("stdout"), *err = temporary_path("stderr");
  if (!run->output)
    unlink(out); /* nobody must wait for what an earlier run wrote */
  const pid_t child = fork();
  if (child != 0)
    return child;
  redirect(STDIN_FILENO, run->input ? run->input : "/dev/null", O_RDONLY);
  redirect(STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC);
  redirect(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
  if (run->largest_file) {
    const struct rlimit limit = {run->largest_file, run->largest_file};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  execv(arguments[0], arguments);
  _exit(127);
}

static struct result finish(pid_t child, const struct run *run) {
  struct result result = {0};
  int status;
  size_t bytes;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR)
    ;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = run->output ? strdup("") : read_file(temporary_path("stdout"), &bytes);
  result.err = read_file(temporary_path("stderr"), &bytes);
  return result;
}

static struct result run_line(const char *line) {
  const struct run run = {0};
  return finish(start(line, &run), &run);
}

static void free_result(struct result *result) {
  free(result->out);
  free(result->err);
}

static void expect_exit(const char *line, int exit_code) {
  struct result result = run_line(line);
  if (result.exit_code != exit_code)
    fail_msg("gatekern %s: exit %d, wanted %d: %s", line, result.exit_code, exit_code, result.err);
  free_result(&result);
}

/* ---- Files that the tests use ---- */

enum { SENTENCE = 62, SENTENCES = 100 };

#define SMALL "--hidden 16 --batch 4 --time 8 --threads 1 "

static void make_files(void) {
  static const char sentence[] = "A cell keeps a state; gates decide what stays, and what goes.\n";
  char text[SENTENCES * SENTENCE];
  size_t used = 0;
  assert_int_equal(strlen(sentence), SENTENCE);
  for (int i = 0; i < SENTENCES; ++i, used += SENTENCE)
    memcpy(text + used, sentence, SENTENCE);
  write_file(temporary_path("text"), text, used);
  write_file(temporary_path("short"), text, 20);
  write_file(temporary_path("empty"), "", 0);
  write_file(temporary_path("latin1"), "caf\xE9 cr\xE8me, and so on and on and on and on and on", 47);
  write_file(temporary_path("utf8"),
             "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 \xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 "
             "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80 \xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80",
             39);
  expect_exit("train lm @/text " SMALL "--steps 30 --out @/model", 0);
  char *whole;
  size_t bytes;
  whole = read_file(temporary_path("model"), &bytes);
  write_file(temporary_path("cut"), whole, bytes - 1);
  whole[bytes - 9] ^= 1;
  write_file(temporary_path("damaged"), whole, bytes);
  free(whole);
}

static int set_up(void **state) {
  (void)state;
  make_files();
  return 0;
}

/* ---- Bad input ---- */

static const struct {
  const char *line;
  const char *says[3]; /* parts of the message */
} bad_input[] = {
    {"nonsense", {"nonsense"}},
    {"--nonsense", {"--nonsense"}},
    {"help nonsense", {"nonsense"}},
    {"train", {"lm"}},
    {"train nonsense", {"nonsense", "lm"}},
    {"train lm --nonsense", {"--nonsense", "train lm --help"}},
    {"train lm -x", {"-x"}},
    {"train lm --resume=yes", {"--resume"}},
    {"train lm @/text more", {"more"}},
    {"train lm @/missing", {"missing", "No such file"}},
    {"train lm @", {"cannot read"}},
    {"train lm @/empty", {"empty"}},
    {"train lm @/short", {"short", "20 characters", "batch 32 x time 64 + 1"}},
    {"train lm @/short --batch 4 --time 5 --validation 0", {"20 characters", "batch 4 x time 5 + 1"}},
    {"train lm @/text --validation 0.9 --batch 10", {"characters for training"}},
    {"train lm @/latin1 --utf8", {"latin1", "not UTF-8", "byte 3"}},
    {"train lm @/text --utf8 --validation-file @/latin1", {"latin1", "not UTF-8"}},
    {"train lm @/text --validation-file @/missing", {"missing"}},
    {"train lm @/text --validation-file @/text --validation 0.1", {"--validation 0.1"}},
    {"train lm --validation 0.1", {"--validation"}},
    {"train lm --validation-file @/text", {"--validation-file"}},
    {"train lm @/text --bytes --utf8", {"--bytes", "--utf8"}},
    {"train lm @/text --cell transformer", {"--cell transformer", "lstm"}},
    {"train lm @/text --activation gelu", {"--activation gelu", "relu"}},
    {"train lm @/text --gate-activation hard-sigmoid(0.2", {"hard-sigmoid(0.2,0.5)"}},
    {"train lm @/text --cell gru --peephole", {"peephole", "gru"}},
    {"train lm @/text --cell-clip -1", {"--cell-clip -1", "negative"}},
    {"train lm @/text --hidden 0", {"--hidden 0", "from 1 to"}},
    {"train lm @/text --hidden -5", {"--hidden -5"}},
    {"train lm @/text --hidden 12x", {"--hidden 12x", "whole number"}},
    {"train lm @/text --hidden 1e3", {"--hidden 1e3"}},
    {"train lm @/text --hidden 99999999999999999999", {"--hidden 99999999999999999999"}},
    {"train lm @/text --hidden", {"--hidden", "value"}},
    {"train lm @/text --hidden 5,,6", {"--hidden 5,,6", "one for each layer"}},
    {"train lm @/text --hidden 5,6 --layers 3", {"--hidden has 2", "--layers is 3"}},
    {"train lm @/text --direction bidirectional", {"direction is bidirectional", "forward", "to predict"}},
    {"train lm @/text --direction reverse", {"direction is reverse", "forward"}},
    {"train lm @/text --direction up", {"--direction up", "forward, reverse or bidirectional"}},
    {"train lm @/text --merge sum", {"merge is sum", "bidirectional"}},
    {"train lm @/text --cell gru --projection-size 5", {"projection_size is 5", "gru"}},
    {"train lm @/text --projection-size -1", {"--projection-size -1", "whole number"}},
    {"train lm @/text --projection-size 8 --tie --embed 16", {"size is 16", "projection_size is 8"}},
    {"train lm @/text --cell gru --zoneout-c 0.1", {"zoneout_c is 0.1", "gru"}},
    {"train lm @/text --zoneout-h 1", {"--zoneout-h 1", "below 1"}},
    {"train lm @/text --dropout-masks sequence", {"dropout_masks is sequence", "recurrent_dropout"}},
    {"train lm @/text --recurrence none --weight-dropout 0.1", {"weight_dropout is 0.1", "none"}},
    {"train lm @/text --clip 3", {"--clip"}},
    {"train lm @/text --layers 0", {"--layers 0"}},
    {"train lm @/text --embed -1", {"--embed -1"}},
    {"train lm @/text --batch 0", {"--batch 0"}},
    {"train lm @/text --time 0", {"--time 0"}},
    {"train lm @/text --steps 0", {"--steps 0"}},
    {"train lm @/text --steps 2 --epochs 2", {"--steps", "--epochs"}},
    {"train lm @/text --minutes -1", {"--minutes -1"}},
    {"train lm @/text --lr 0", {"--lr 0"}},
    {"train lm @/text --lr nan", {"--lr nan"}},
    {"train lm @/text --lr inf", {"--lr inf"}},
    {"train lm @/text --lr fast", {"--lr fast", "number"}},
    {"train lm @/text --lr-min 1", {"--lr-min 1", "--lr"}},
    {"train lm @/text --lr-schedule linear", {"--lr-schedule linear", "cosine", "plateau"}},
    {"train lm @/text --validation 0 --lr-schedule plateau --steps 1", {"plateau", "validation"}},
    {"train lm @/text --lr-every 0", {"--lr-every 0"}},
    {"train lm @/text --lr-factor 2", {"--lr-factor 2"}},
    {"train lm @/text --backward-time 5 --time 8", {"--backward-time 5", "--time, 8"}},
    {"train lm @/text --label-smoothing 2", {"--label-smoothing 2"}},
    {"train lm @/text --optimizer sgd --nesterov", {"--nesterov", "--momentum"}},
    {"train lm @/text --weight-decay -1", {"--weight-decay -1"}},
    {"train lm @/text --clip-value -1", {"--clip-value -1"}},
    {"train lm @/text --tie --embed 8 --hidden 16", {"tied", "embedding's size is 8", "hidden_size is 16"}},
    {"train lm @/text --optimizer lion", {"--optimizer lion", "adam"}},
    {"train lm @/text --momentum 0.9", {"--momentum 0.9", "sgd"}},
    {"train lm @/text --clip-norm -1", {"--clip-norm -1"}},
    {"train lm @/text --dropout 1 --layers 2", {"--dropout 1"}},
    {"train lm @/text --dropout 0.5", {"dropout is 0.5", "layers is 1"}},
    {"train lm @/text --seed -1", {"--seed -1"}},
    {"train lm @/text --seed 18446744073709551616", {"--seed 18446744073709551616"}},
    {"train lm @/text --threads -1", {"--threads -1"}},
    {"train lm @/text --threads 1025", {"--threads 1025", "1024"}},
    {"train lm @/text --isa sse9", {"--isa sse9", "scalar"}},
#ifdef __x86_64__
    {"train lm @/text --isa neon", {"--isa neon", "scalar"}},
#else
    {"train lm @/text --isa avx512", {"--isa avx512", "scalar"}},
#endif
    {"train lm @/text --out @/nowhere/model", {"nowhere/model", "No such file"}},
    {"train lm @/text --out @", {"not a regular file"}},
    {"train lm @/text --out /dev/null", {"/dev/null", "not a regular file"}},
    {"train lm @/text --out @/text", {"--out", "is the text"}},
    {"train lm @/text --out @/short", {"short", "not a safetensors file"}},
    {"train lm @/text --out @/cut", {"cut", "not a safetensors file"}},
    {"train lm @/text --log @/nowhere/log --out @/model", {"--log", "nowhere/log"}},
    {"train lm @/text --log @/text --out @/model", {"--log", "is the text"}},
    {"train lm @/text --log @/model --out @/model", {"--log", "is the model"}},
    {"train lm @/text --resume --out @/new", {"new.state", "No such file"}},
    {"train lm @/utf8 --resume --out @/model", {"utf8"}},
    {"train lm @/text --resume --out @/model --hidden 32", {"--hidden", "model.state"}},
    {"train lm @/text --resume --out @/model --zoneout-h 0.5", {"--zoneout-h 0.5", "none"}},
    {"train lm @/text --resume --out @/model --seed 1", {"--seed", "model.state"}},
    {"train lm @/text --resume --out @/model --utf8", {"--utf8", "model.state"}},
    {"sample", {"MODEL"}},
    {"sample @/missing", {"missing", "No such file"}},
    {"sample @", {"not a regular file"}},
    {"sample @/text", {"not a safetensors file"}},
    {"sample @/cut", {"cut"}},
    {"sample @/damaged", {"damaged", "checksum"}},
    {"sample @/model --prompt \xE2\x82\xAC", {"prompt", "0xE2"}},
    {"sample @/model --prompt state#", {"prompt", "'#' at byte 5"}},
    {"sample @/model --temperature -1", {"--temperature -1"}},
    {"sample @/model --temperature nan", {"--temperature nan"}},
    {"sample @/model --top-k -1", {"--top-k -1"}},
    {"sample @/model --length 0", {"--length 0"}},
    {"sample @/model more", {"more"}},
    {"eval", {"MODEL"}},
    {"eval @/model @/missing", {"missing"}},
    {"eval @/missing @/text", {"missing"}},
    {"eval @/model @/empty", {"empty"}},
    {"eval @/model @/utf8", {"utf8", "0xC3 at byte 0"}},
    {"eval @/damaged @/text", {"checksum"}},
    {"eval @/model @/text --threads many", {"--threads many"}},
    {"eval @/model @/text --free-running -1", {"--free-running -1"}},
    {"eval @/model @/text --temperature -1", {"--temperature -1"}},
    {"inspect --hidden 0", {"--hidden 0"}},
    {"inspect --peephole", {"peephole", "rnn", "--cell"}},
    {"inspect @/model --layers 2", {"--layers", "without a MODEL"}},
    {"inspect @/model --zoneout-h 0.1", {"--zoneout-h", "without a MODEL"}},
    {"inspect --cell lstm --hidden 4,5 --layers 1", {"--hidden has 2", "--layers is 1"}},
    {"bench --hidden 4,5 --layers 3", {"--hidden has 2", "--layers is 3"}},
    {"bench --direction reverse --pass stream --hidden 4", {"direction is reverse", "forward"}},
    {"inspect --init zeros", {"--init zeros", "orthogonal"}},
    {"inspect @/missing", {"missing"}},
    {"inspect @/damaged", {"checksum"}},
    {"inspect @/model --gain 2", {"--gain", "without a MODEL"}},
    {"inspect @/model @/text --batch 1000 --time 1000", {"1000", "are needed"}},
};

static void check_bad_input(const char *line, const char *const says[3]) {
  struct result result = run_line(line);
  const char *feed = strchr(result.err, '\n');
  if (result.exit_code != 2 || *result.out || !feed || feed[1] || strncmp(result.err, "gatekern", 8) != 0)
    fail_msg("gatekern %s: exit %d, %zu bytes of output, not one line of error: %s", line, result.exit_code,
             strlen(result.out), result.err);
  for (int i = 0; i < 3 && says[i]; ++i)
    if (!strstr(result.err, says[i]))
      fail_msg("gatekern %s does not say \"%s\": %s", line, says[i], result.err);
  free_result(&result);
}

static void test_bad_input(void **state) {
  (void)state;
  size_t before_bytes, after_bytes;
  char *before = read_file(temporary_path("model"), &before_bytes);
  const int files = count_files(temporary_folder());
  for (size_t i = 0; i < sizeof bad_input / sizeof bad_input[0]; ++i) {
    check_bad_input(bad_input[i].line, bad_input[i].says);
    if (count_files(temporary_folder()) != files)
      fail_msg("gatekern %s made a file", bad_input[i].line);
  }
  char *after = read_file(temporary_path("model"), &after_bytes);
  assert_int_equal(before_bytes, after_bytes);
  assert_memory_equal(before, after, before_bytes);
  free(before);
  free(after);
}

/* ---- Help ---- */

static void expect_says(const char *line, const char *const *says) {
  struct result result = run_line(line);
  if (result.exit_code != 0 || *result.err)
    fail_msg("gatekern %s: exit %d: %s", line, result.exit_code, result.err);
  for (; *says; ++says)
    if (!strstr(result.out, *says))
      fail_msg("gatekern %s does not say \"%s\"", line, *says);
  free_result(&result);
}

static void expect_help(const char *line, const char *const *says) {
  expect_says(line, says);
  struct result result = run_line(line);
  for (const char *text = result.out; *text;) {
    const size_t length = strcspn(text, "\n");
    if (length > 100)
      fail_msg("gatekern %s: a line of %zu characters: %.*s", line, length, (int)length, text);
    text += length + (text[length] == '\n');
  }
  free_result(&result);
}

static void test_help(void **state) {
  (void)state;
  const char *const overview[] = {"train",  "sample", "eval",  "inspect", "bench",
                                  "verify", "info",   "Usage", NULL};
  const char *const train[] = {"Usage: gatekern train lm [FILE]",
                               "--hidden H",
                               "default 256",
                               "--resume",
                               "lstm",
                               "Examples:",
                               "scalar",
                               NULL};
  const char *const sample[] = {"Usage: gatekern sample MODEL", "--temperature", "default 0.8", NULL};
  const char *const eval[] = {"Usage: gatekern eval MODEL [FILE]", "--json", NULL};
  const char *const version[] = {"gatekern 0.", NULL};
  static const char *const overviews[] = {"", "help", "--help", "-h"};
  for (int i = 0; i < 4; ++i)
    expect_help(overviews[i], overview);
  static const char *const trains[] = {"train --help",  "help train",  "train lm --help",
                                       "help train lm", "train lm -h", "train lm nofile --hidden 3 --help"};
  for (int i = 0; i < 6; ++i)
    expect_help(trains[i], train);
  expect_help("sample --help", sample);
  expect_help("help sample", sample);
  expect_help("eval --help", eval);
  const char *const inspect[] = {"Usage: gatekern inspect [MODEL] [FILE]", "vanishes", "--gain", NULL};
  expect_help("inspect --help", inspect);
  expect_help("--version", version);
}

/* ---- Training, evaluating, sampling ---- */

static void expect_same_files(const char *a, const char *b) {
  size_t a_bytes, b_bytes;
  char *x = read_file(temporary_path(a), &a_bytes), *y = read_file(temporary_path(b), &b_bytes);
  if (a_bytes != b_bytes || memcmp(x, y, a_bytes) != 0)
    fail_msg("%s (%zu bytes) and %s (%zu bytes) differ", a, a_bytes, b, b_bytes);
  free(x);
  free(y);
}

/* The number of lines of a log, each of which must be an object with the right step. */
static int check_log(const char *name, int validations) {
  size_t bytes;
  char *log = read_file(temporary_path(name), &bytes), *rest = log;
  int lines = 0, validated = 0;
  for (char *feed; (feed = strchr(rest, '\n')); rest = feed + 1) {
    json_error_t error;
    json_t *object = json_loadb(rest, (size_t)(feed - rest), JSON_REJECT_DUPLICATES, &error);
    if (!object)
      fail_msg("line %d of the log: %s", lines + 1, error.text);
    assert_int_equal(json_integer_value(json_object_get(object, "step")), ++lines);
    static const char *const numbers[] = {
        "epoch",         "loss",       "bits_per_character",    "learning_rate",
        "gradient_norm", "seconds",    "characters_per_second", "gflops",
        "clip_scale",    "characters", "percent_of_peak"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; ++i)
      if (!(json_number_value(json_object_get(object, numbers[i])) > 0))
        fail_msg("line %d of the log: %s is missing or not above 0", lines, numbers[i]);
    validated += json_object_get(object, "validation_loss") != NULL;
    json_decref(object);
  }
  assert_int_equal(*rest, 0);
  assert_int_equal(validated, validations);
  free(log);
  return lines;
}

/* Number `index` of the array `key`. */
static double number_at(const json_t *value, const char *key, size_t index) {
  const json_t *array = json_object_get(value, key);
  assert_true(json_array_size(array) > index);
  return json_number_value(json_array_get(array, index));
}

static void test_inspect_fresh(void **state) {
  (void)state;
  struct result result = run_line("inspect --hidden 24 --time 40 --batch 3 --gain 1.25 --json");
  assert_int_equal(result.exit_code, 0);
  json_t *root = json_loads(result.out, 0, NULL);
  const json_t *networks = json_object_get(root, "networks"), *linear = json_array_get(networks, 0);
  assert_true(json_array_size(networks) > 4);
  assert_string_equal(json_string_value(json_object_get(linear, "name")), "rnn, linear");
  assert_true(fabs(number_at(linear, "spectral_radius", 0) - 1.25) < 1e-5);
  for (size_t t = 0; t < 40; ++t) {
    const double wanted = pow(1.25, 39.0 - (double)t) * number_at(linear, "norms", 39);
    assert_true(fabs(number_at(linear, "norms", t) / wanted - 1) < 1e-5);
  }
  json_decref(root);
  free_result(&result);
  const char *const table[] = {"distance", "rnn, linear", "lstm", "spectral radius", NULL};
  expect_says("inspect --hidden 24 --time 40 --batch 3", table);
}

/* Options of a training survive a resume, and another value is refused. */
static void test_training_options(void **state) {
  (void)state;
#define OPTIONS                                                                                              \
  "train lm @/text " SMALL                                                                                   \
  "--tie --optimizer adamw --backward-time 12 --label-smoothing 0.1 --clip-value 1 "                         \
  "--clip-tensor-norm 1 --lr-schedule plateau --lr-warmup 5 --lr-patience 0 --lr-factor 0.5 --eval-every "   \
  "10 "
  expect_exit(OPTIONS "--steps 40 --out @/whole", 0);
  expect_exit(OPTIONS "--steps 20 --out @/part", 0);
  expect_exit("train lm @/text --resume --eval-every 10 --steps 40 --out @/part", 0);
  expect_same_files("whole", "part");
  expect_same_files("whole.state", "part.state");
  expect_exit("train lm @/text --resume --backward-time 20 --steps 50 --out @/part", 2);
  expect_exit("train lm @/text " SMALL
              "--optimizer sgd --momentum 0.9 --nesterov --lr 0.1 --lr-schedule step "
              "--lr-every 5 --steps 12 --out @/sgd",
              0);
#undef OPTIONS
}

static void test_train_eval_sample(void **state) {
  (void)state;
  static const char *const trained[] = {
      "text ",     "model ",     "machine ", "step 250/250",
      "bits/char", "chars/s",    "GFLOP/s",  "of peak",
      "left",      "validation", "done",     "profile  medians of 247 steps",
      "forward",   "output",     "update",   "beside layers and pack",
      NULL};
  expect_says("train lm @/text " SMALL "--lr 0.02 --steps 250 --eval-every 100 --log @/log --out @/trained "
              "--profile",
              trained);
  assert_int_equal(check_log("log", 3), 250);
  struct result result = run_line("eval @/trained @/text --json");
  json_t *loss = json_loads(result.out, 0, NULL);
  assert_int_equal(json_integer_value(json_object_get(loss, "characters")), SENTENCES * SENTENCE - 1);
  assert_true(json_number_value(json_object_get(loss, "nats_per_character")) < 1);
  json_decref(loss);
  free_result(&result);
  const char *const inspected[] = {"lstm", "layer 1", "spectral radius", NULL};
  expect_says("inspect @/trained @/text --time 30 --batch 4", inspected);
  const char *const evaluated[] = {"nats/char",       "bits/char",    "perplexity",
                                   "6199 characters", "free-running", NULL};
  expect_says("eval @/trained @/text", evaluated);
  struct result a = run_line("sample @/trained --prompt gates --length 70 --seed 3");
  struct result b = run_line("sample @/trained --prompt gates --length 70 --seed 3 --isa scalar --threads 2");
  assert_int_equal(a.exit_code, 0);
  assert_int_equal(strlen(a.out), 5 + 70 + 1);
  assert_string_equal(a.out, b.out);
  assert_int_equal(strncmp(a.out, "gates", 5), 0);
  free_result(&b);
  b = run_line("sample @/trained --prompt gates --length 70 --seed 4 --temperature 1.5");
  assert_string_not_equal(a.out, b.out);
  free_result(&a);
  free_result(&b);
}

static void test_machine_changes_nothing(void **state) {
  (void)state;
  expect_exit("train lm @/text --cell gru --layers 2 --dropout 0.3 --hidden 24 --embed 9 --batch 5 --time 11 "
              "--steps 40 --threads 1 --isa scalar --out @/one",
              0);
  expect_exit("train lm @/text --cell gru --layers 2 --dropout 0.3 --hidden 24 --embed 9 --batch 5 --time 11 "
              "--steps 40 --threads 3 --out @/three",
              0);
  expect_same_files("one", "three");
  expect_same_files("one.state", "three.state");
}

static void test_builtin_text(void **state) {
  (void)state;
  const char *const trained[] = {"the built-in text", "done", NULL};
  expect_says("train lm --hidden 8 --steps 3 --threads 1 --out @/builtin", trained);
  const char *const evaluated[] = {"built-in text", NULL};
  expect_says("eval @/builtin", evaluated);
}

static void test_other_texts(void **state) {
  (void)state;
  const char *const code_points[] = {"4 different code points", "15 characters", NULL};
  expect_says("train lm @/utf8 --utf8 --validation 0 " SMALL "--batch 2 --time 3 --steps 60 --out @/points",
              code_points);
  struct result result = run_line("sample @/points --prompt \xE2\x82\xAC --length 1 --temperature 0");
  assert_string_equal(result.out, "\xE2\x82\xAC\xF0\x9F\x98\x80\n");
  free_result(&result);
  const struct run from_input = {.input = temporary_path("text")};
  result = finish(start("train lm - " SMALL "--steps 30 --out @/piped", &from_input), &from_input);
  assert_int_equal(result.exit_code, 0);
  free_result(&result);
  expect_same_files("model", "piped");
  const char *const validated[] = {"6200 characters for training, 20 for validation", NULL};
  expect_says("train lm @/text --validation-file @/short " SMALL "--steps 3 --out @/other", validated);
}

static void test_minutes(void **state) {
  (void)state;
  const time_t begin = time(NULL);
  expect_exit("train lm @/text " SMALL "--minutes 0.05 --log @/minutes.log --out @/minutes", 0);
  assert_true(time(NULL) - begin < 50); /* 3 seconds, on a machine that does something else too */
  size_t bytes;
  char *log = read_file(temporary_path("minutes.log"), &bytes);
  int lines = 0;
  for (size_t i = 0; i < bytes; ++i)
    lines += log[i] == '\n';
  free(log);
  assert_true(lines > 10);
  char line[256];
  snprintf(line, sizeof line, "train lm @/text " SMALL "--steps %d --eval-every %d --out @/steps", lines,
           lines);
  expect_exit(line, 0);
  snprintf(line, sizeof line, "train lm @/text " SMALL "--minutes 0.05 --steps %d", lines);
  expect_exit(line, 2);
}

static void test_keep_all(void **state) {
  (void)state;
  expect_exit("train lm @/text " SMALL "--steps 9 --eval-every 4 --keep-all --out @/kept", 0);
  assert_true(file_exists(temporary_path("kept.step-4")) && file_exists(temporary_path("kept.step-8")));
  expect_same_files("kept", "kept.step-9");
  assert_false(file_exists(temporary_path("kept.step-5")));
}

/* ---- Interrupted, killed, resumed ---- */

static void pause_shortly(void) {
  nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Waits until the file has `lines` lines; 20 seconds at most. */
static void wait_for_lines(const char *name, int lines) {
  for (int tries = 0; tries < 10000; ++tries, pause_shortly()) {
    if (!file_exists(temporary_path(name)))
      continue;
    size_t bytes;
    int found = 0;
    char *content = read_file(temporary_path(name), &bytes);
    for (size_t i = 0; i < bytes; ++i)
      found += content[i] == '\n';
    free(content);
    if (found >= lines)
      return;
  }
  fail_msg("%s does not get %d lines", name, lines);
}

static int step_of_state(const char *name) {
  size_t bytes;
  char *content = read_file(temporary_path(name), &bytes);
  const char key[] = "\\\"step\\\":";
  int step = -1;
  for (size_t i = 0; step < 0 && i + sizeof key < bytes; ++i)
    if (memcmp(content + i, key, sizeof key - 1) == 0)
      step = atoi(content + i + sizeof key - 1);
  free(content);
  return step;
}

#define LONG_RUN "train lm @/text " SMALL "--lr-schedule constant --eval-every 16 --layers 2 --dropout 0.1 "

/* Stops an endless run by a signal, goes on for some steps, and compares with a run of as many. */
static void stop_and_resume(int signal_number, int exit_code, const char *name) {
  const struct run run = {0};
  char line[512], state[64], unbroken[64], unbroken_state[80];
  snprintf(state, sizeof state, "%s.state", name);
  snprintf(unbroken, sizeof unbroken, "%s-unbroken", name);
  snprintf(unbroken_state, sizeof unbroken_state, "%s.state", unbroken);
  snprintf(line, sizeof line, LONG_RUN "--steps 100000000 --out @/%s --log @/%s.log", name, name);
  const pid_t child = start(line, &run);
  char log[64];
  snprintf(log, sizeof log, "%s.log", name);
  wait_for_lines(log, 40);
  kill(child, signal_number);
  struct result result = finish(child, &run);
  if (result.exit_code != exit_code)
    fail_msg("signal %d: exit %d, wanted %d: %s", signal_number, result.exit_code, exit_code, result.err);
  if (signal_number != SIGKILL)
    assert_non_null(strstr(result.out, "--resume goes on"));
  free_result(&result);
  const int step = step_of_state(state);
  assert_true(step >= 32);
  snprintf(line, sizeof line, "train lm @/text --resume --steps %d --eval-every 16 --threads 2 --out @/%s",
           step + 21, name);
  expect_exit(line, 0);
  snprintf(line, sizeof line, LONG_RUN "--steps %d --out @/%s", step + 21, unbroken);
  expect_exit(line, 0);
  expect_same_files(name, unbroken);
  expect_same_files(state, unbroken_state);
}

static void test_interrupted(void **state) {
  (void)state;
  stop_and_resume(SIGINT, 130, "interrupted");
}

static void test_terminated(void **state) {
  (void)state;
  stop_and_resume(SIGTERM, 143, "terminated");
}

static void test_hung_up(void **state) {
  (void)state;
  stop_and_resume(SIGHUP, 129, "hung-up");
}

/* `gatekern train lm | head`: the reader goes away. */
static void test_nobody_reads(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  char path[64];
  snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
  const struct run run = {.output = path};
  const pid_t child =
      start("train lm @/text " SMALL "--steps 100000000 --log @/unread.log --out @/unread", &run);
  wait_for_lines("unread.log", 3);
  close(ends[0]);
  close(ends[1]);
  struct result result = finish(child, &run);
  assert_int_equal(result.exit_code, 141);
  free_result(&result);
  assert_true(step_of_state("unread.state") >= 3);
}

static void test_killed(void **state) {
  (void)state;
  stop_and_resume(SIGKILL, 137, "killed");
}

static void test_interrupted_twice(void **state) {
  (void)state;
  const struct run run = {0};
  /* A step of minutes: the second signal cannot wait for its end. */
  const pid_t child = start("train lm --isa scalar --threads 1 --hidden 1500 --steps 9 --out @/slow", &run);
  wait_for_lines("stdout", 4);
  kill(child, SIGINT);
  for (int i = 0; i < 50; ++i)
    pause_shortly();
  assert_int_equal(waitpid(child, NULL, WNOHANG), 0); /* still at the step */
  kill(child, SIGINT);
  const time_t begin = time(NULL);
  struct result result = finish(child, &run);
  assert_int_equal(result.exit_code, 130);
  assert_true(time(NULL) - begin <= 5);
  assert_false(file_exists(temporary_path("slow")));
  free_result(&result);
}

static void test_interrupted_before_validation(void **state) {
  (void)state;
  const struct run run = {0};
  const pid_t child =
      start("train lm @/text " SMALL "--steps 100000000 --log @/early.log --out @/early", &run);
  wait_for_lines("early.log", 3);
  kill(child, SIGINT);
  struct result result = finish(child, &run);
  assert_int_equal(result.exit_code, 130);
  free_result(&result);
  expect_exit("eval @/early @/text", 0); /* the newest weights: better than nothing */
}

/* Resuming a finished run does nothing; with more steps it goes on. */
static void test_resume_finished(void **state) {
  (void)state;
  expect_exit("train lm @/text " SMALL "--steps 20 --eval-every 10 --lr-schedule constant --out @/more", 0);
  expect_exit("train lm @/text --resume --out @/more", 0);
  assert_int_equal(step_of_state("more.state"), 20);
  expect_exit("train lm @/text --resume --epochs 1 --eval-every 10 --out @/more", 0);
  const int step = step_of_state("more.state");
  assert_true(step > 100);
  expect_exit("train lm @/text " SMALL "--epochs 1 --eval-every 10 --lr-schedule constant --out @/at-once",
              0);
  expect_same_files("more.state", "at-once.state");
}

/* ---- Disks that are full ---- */

static void test_full_disk(void **state) {
  (void)state;
  size_t bytes, after;
  const struct run to_full = {.output = "/dev/full"};
  struct result result = finish(start("sample @/model", &to_full), &to_full);
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "standard output"));
  free_result(&result);
  result = finish(start("train lm --help", &to_full), &to_full);
  assert_int_equal(result.exit_code, 1);
  free_result(&result);
  result = run_line("train lm @/text " SMALL "--steps 20 --log /dev/full --out @/unlogged");
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "--log /dev/full"));
  free_result(&result);

  char *before = read_file(temporary_path("model"), &bytes);
  const int files = count_files(temporary_folder());
  const struct run limited = {.largest_file = bytes - 1};
  result = finish(start("train lm @/text " SMALL "--steps 20 --seed 9 --out @/model", &limited), &limited);
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.err, "model: cannot write: File too large"));
  free_result(&result);
  char *now = read_file(temporary_path("model"), &after);
  assert_int_equal(bytes, after);
  assert_memory_equal(before, now, bytes);
  assert_int_equal(count_files(temporary_folder()), files);
  free(before);
  free(now);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bad_input),
      cmocka_unit_test(test_help),
      cmocka_unit_test(test_inspect_fresh),
      cmocka_unit_test(test_training_options),
      cmocka_unit_test(test_train_eval_sample),
      cmocka_unit_test(test_machine_changes_nothing),
      cmocka_unit_test(test_builtin_text),
      cmocka_unit_test(test_other_texts),
      cmocka_unit_test(test_minutes),
      cmocka_unit_test(test_keep_all),
      cmocka_unit_test(test_interrupted),
      cmocka_unit_test(test_terminated),
      cmocka_unit_test(test_hung_up),
      cmocka_unit_test(test_nobody_reads),
      cmocka_unit_test(test_killed),
      cmocka_unit_test(test_interrupted_twice),
      cmocka_unit_test(test_interrupted_before_validation),
      cmocka_unit_test(test_resume_finished),
      cmocka_unit_test(test_full_disk),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
