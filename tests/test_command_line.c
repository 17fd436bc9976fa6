/* SPDX-License-Identifier: Apache-2.0
 *
 * The program as people use it (GATEKERN_PROGRAM): bad input is one line and exit code 2 and changes no
 * file; help. */
#include "include/gatekern-train.h"
#include "tests/command_line_fixture.h"

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
    {"train lm @/short", {"short", "20 characters", "--batch 32 x --time 64 + 1"}},
    {"train lm @/short --batch 4 --time 5 --validation 0",
     {"short: 20 characters", "--batch 4 x --time 5 + 1"}},
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
    {"train lm @/text --activation elu(x)", {"elu(x)", "as elu(1)"}},
    {"train lm @/text --activation tanh(x)", {"tanh(x)", "must be tanh"}},
    {"train lm @/text --gate-activation thresholded-relu(0)", {"thresholded-relu(0)", "defaults", "1 and 0"}},
    {"train lm @/text --activation leaky-relu(0.2,3)",
     {"--activation is leaky-relu", "no beta", ": beta is 3"}},
    {"train lm @/text --activation scaled-tanh(0,0)", {"scaled-tanh(0,0)", "defaults", "1 and 1"}},
    {"train lm @/text --activation tanh(3)", {"--activation is tanh", "no alpha and beta", ": alpha is 3"}},
    {"train lm @/text --cell gru --peephole", {"--peephole is set and --cell is gru"}},
    {"train lm @/text --cell-clip -1", {"--cell-clip -1", "negative"}},
    {"train lm @/text --hidden 0", {"--hidden 0", "from 1 to"}},
    {"train lm @/text --hidden -5", {"--hidden -5"}},
    {"train lm @/text --hidden 12x", {"--hidden 12x", "whole number"}},
    {"train lm @/text --hidden 1e3", {"--hidden 1e3"}},
    {"train lm @/text --hidden 99999999999999999999", {"--hidden 99999999999999999999"}},
    {"train lm @/text --hidden", {"--hidden", "value"}},
    {"train lm @/text --hidden 5,,6", {"--hidden 5,,6", "one for each layer"}},
    {"train lm @/text --hidden 5,6 --layers 3", {"--hidden has 2", "--layers is 3"}},
    {"train lm --help=1", {"--help=1: this option takes no value"}},
    {"info -x", {"unknown option -x"}},
    {"bench --json -xy", {"unknown option -x"}},
    {"train lm @/text --direction bidirectional", {"--direction: a language model walks forward"}},
    {"train lm @/text --merge sum", {"--merge: a language model walks forward"}},
    {"train lm @/text --reverse-activation relu", {"--reverse-activation: a language model walks forward"}},
    {"train lm @/text --cell gru --projection-size 5", {"--projection-size is 5", "gru"}},
    {"train lm @/text --projection-size -1", {"--projection-size -1", "whole number"}},
    {"train lm @/text --projection-size 8 --tie --embed 16",
     {"--tie is set", "size is 16", "--projection-size is 8"}},
    {"train lm @/text --cell gru --zoneout-c 0.1", {"--zoneout-c is 0.1", "gru"}},
    {"train lm @/text --zoneout-h 1", {"--zoneout-h 1", "below 1"}},
    {"train lm @/text --dropout-masks sequence", {"--dropout-masks is sequence", "--recurrent-dropout"}},
    {"train lm @/text --recurrence none --weight-dropout 0.1",
     {"--weight-dropout is 0.1", "--recurrence is none"}},
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
    {"train lm @/text --lr-min 1", {"--lr-min is 1", "--lr"}},
    {"train lm @/text --lr-schedule linear", {"--lr-schedule linear", "cosine", "plateau"}},
    {"train lm @/text --validation 0 --lr-schedule plateau --steps 1", {"plateau", "validation"}},
    {"train lm @/text --lr-every 0", {"--lr-every 0"}},
    {"train lm @/text --lr-factor 2", {"--lr-factor 2"}},
    {"train lm @/text --lr-every 5", {"--lr-every", "--lr-schedule step", "not cosine"}},
    {"train lm @/text --lr-schedule plateau --lr-every 5", {"--lr-every", "step", "not plateau"}},
    {"train lm @/text --minutes 9 --lr-factor 0.5", {"--lr-factor", "step or plateau", "not cosine"}},
    {"train lm @/text --lr-schedule step --lr-patience 3", {"--lr-patience", "plateau", "not step"}},
    {"train lm @/text --lr-schedule constant --lr-min 0.001", {"--lr-min", "cosine", "not constant"}},
    {"train lm @/text --cell gru --forget-bias 1", {"--forget-bias 1", "lstm", "gru"}},
    {"train lm @/text --backward-time 5 --time 8", {"--backward-time is 5 and --time is 8"}},
    {"train lm @/text --label-smoothing 2", {"--label-smoothing 2"}},
    {"train lm @/text --optimizer sgd --nesterov", {"--nesterov", "--momentum"}},
    {"train lm @/text --weight-decay -1", {"--weight-decay -1"}},
    {"train lm @/text --clip-value -1", {"--clip-value -1"}},
    {"train lm @/text --tie --embed 8 --hidden 16",
     {"--tie is set", "embedding's size is 8", "--hidden is 16"}},
    {"train lm @/text --optimizer lion", {"--optimizer lion", "adam"}},
    {"train lm @/text --momentum 0.9", {"--momentum 0.9", "sgd"}},
    {"train lm @/text --clip-norm -1", {"--clip-norm -1"}},
    {"train lm @/text --dropout 1 --layers 2", {"--dropout 1"}},
    {"train lm @/text --dropout 0.5", {"--dropout is 0.5", "--layers is 1"}},
    {"train lm @/text --seed -1", {"--seed -1"}},
    {"train lm @/text --seed 18446744073709551616", {"--seed 18446744073709551616"}},
    {"train lm @/text --threads -1", {"--threads -1"}},
    {"train lm @/text --threads 1025", {"--threads 1025", "1024"}},
    {"train lm @/text --isa sse9", {"--isa sse9", "scalar"}},
#ifdef __x86_64__
    {"train lm @/text --isa neon", {"--isa neon: this machine cannot run neon", "scalar"}},
#else
    {"train lm @/text --isa avx512", {"--isa avx512", "scalar"}},
#endif
    {"train lm @/text --merge=sum", {"--merge=sum", "a language model walks forward"}},
    {"train lm @/text --merg", {"unknown option --merg;"}},
    {"train lm @/text --out @/torn", {"state of an earlier run", "damaged", "remove it"}},
    {"train lm @/text --out @/nowhere/model", {"nowhere/model", "No such file"}},
    {"train lm @/text --out @", {"not a regular file"}},
    {"train lm @/text --out /dev/null", {"/dev/null", "not a regular file"}},
    {"train lm @/text --out @/text", {"--out", "is the text"}},
    {"train lm @/text --out @/short", {"short", "not a safetensors file"}},
    {"train lm @/text --out @/cut", {"cut", "not a safetensors file"}},
    {"train lm @/text --log @/nowhere/log --out @/model", {"--log", "nowhere/log"}},
    {"train lm @/text --log @/text --out @/model", {"--log", "is the text"}},
    {"train lm @/text --log @/model --out @/model", {"--log", "is the model"}},
    {"train lm @/text --keep-all --log @/model.step-5 --out @/model", {"--keep-all", "model.step-5"}},
    {"train lm @/text --resume --out @/new", {"new.state", "No such file"}},
    {"train lm @/utf8 --resume --out @/model", {"utf8"}},
    {"train lm @/text --resume --out @/model --hidden 32",
     {"--hidden 32: the run in ", "model.state has --hidden 16; leave it out"}},
    {"train lm @/text --resume --out @/model --zoneout-h 0.5",
     {"--zoneout-h 0.5: the run in ", "model.state has none; leave"}},
    {"train lm @/text --resume --out @/model --steps 99 --lr-patience 3", {"--lr-patience", "plateau"}},
    {"train lm @/text --resume --out @/model --seed 1",
     {"--seed 1: the run in ", "model.state has --seed 0; leave it out"}},
    {"train lm @/text --resume --out @/model --utf8",
     {"--utf8: the run in ", "model.state has --bytes; leave"}},
    {"train lm @/text --resume --out @/model --tie", {"--tie: the run in ", "model.state has none; leave"}},
    {"train lm @/text --resume --out @/model --cell gru",
     {"--cell gru: the run in ", "has --cell lstm; leave"}},
    {"train lm @/text --resume --out @/model --batch 16",
     {"--batch 16: the run in ", "has --batch 4; leave"}},
    {"train lm @/text --resume --out @/model --clip-norm 1", {"--clip-norm 1: ", "has --clip-norm 5; leave"}},
    {"train lm @/text --resume --out @/model --optimizer sgd",
     {"--optimizer sgd: ", "has --optimizer adam; leave"}},
    {"train lm @/text --resume --out @/model --layers 2", {"--layers 2: ", "has --layers 1; leave"}},
    {"train lm @/text --resume --out @/model --embed 8", {"--embed 8: ", "has --embed 16; leave"}},
    {"sample", {"MODEL"}},
    {"sample @/missing", {"missing", "No such file"}},
    {"sample @", {"not a regular file"}},
    {"sample @/text", {"not a safetensors file"}},
    {"sample @/cut", {"cut"}},
    {"sample @/damaged", {"damaged", "checksum"}},
    {"sample @/not-finite", {"not-finite: the model's weights are not finite: output.bias["}},
    {"sample @/model --prompt \xE2\x82\xAC",
     {"--prompt: the byte 0xE2 of '\xE2\x82\xAC' at byte 0", "; leave it out"}},
    {"sample @/model --prompt state#", {"--prompt: '#' at byte 5", "; leave it out"}},
    {"sample @/model --temperature -1", {"--temperature -1"}},
    {"sample @/model --temperature nan", {"--temperature nan"}},
    {"sample @/model --top-k -1", {"--top-k -1"}},
    {"sample @/model --length 0", {"--length 0"}},
    {"sample @/model more", {"more"}},
    {"eval", {"MODEL"}},
    {"eval @/model @/missing", {"missing"}},
    {"eval @/missing @/text", {"missing"}},
    {"eval @/model @/empty", {"empty"}},
    {"eval @/model @/single", {"single: 1 character, an evaluation needs 2"}},
    {"eval @/model @/utf8", {"utf8: the byte 0xC3 of '\xC3\xA4' at byte 0", "; --skip-unknown leaves"}},
    {"eval @/model @/digits --skip-unknown", {"digits: the model knows 1 of 7 characters", "needs 2"}},
    {"eval @/model @/single --skip-unknown", {"single: 1 character, an evaluation needs 2"}},
    {"eval @/damaged @/text", {"checksum"}},
    {"eval @/not-finite @/text", {"not-finite: the model's weights are not finite: output.bias["}},
    {"eval @/model @/text --threads many", {"--threads many"}},
    {"eval @/model @/text --free-running -1", {"--free-running -1"}},
    {"eval @/model @/text --temperature -1", {"--temperature -1"}},
    {"eval @/model @/text --free-running 0 --temperature 1", {"--temperature", "--free-running 0"}},
    {"eval @/model @/text --seed 0 --free-running 0", {"--seed", "--free-running 0"}},
    {"inspect --dropout 0.5", {"--dropout is 0.5", "--layers is 1"}},
    {"info --plan --hidden 4 --dropout 0.5", {"--dropout is 0.5", "--layers is 1"}},
    {"info --plan --dropout-masks sequence", {"--dropout-masks is sequence", "--recurrent-dropout"}},
    {"inspect --cell mgu --forget-bias 1", {"--forget-bias 1", "lstm", "mgu"}},
    {"inspect --hidden 0", {"--hidden 0"}},
    {"inspect --peephole", {"--peephole", "rnn", "--cell"}},
    {"inspect @/model --layers 2", {"--layers", "without a MODEL"}},
    {"inspect @/model --zoneout-h 0.1", {"--zoneout-h", "without a MODEL"}},
    {"inspect --cell lstm --hidden 4,5 --layers 1", {"--hidden has 2", "--layers is 1"}},
    {"bench --hidden 4,5 --layers 3", {"--hidden has 2", "--layers is 3"}},
    {"bench --steps 10", {"--steps", "--check latency"}},
    {"info --plan --seconds 1", {"--seconds", "--plan"}},
    {"info --plan --no-measure", {"--no-measure", "--plan"}},
    {"info --no-measure --seconds 1", {"--seconds", "--no-measure"}},
    {"bench --check softmax --steps 10", {"--steps", "--check latency"}},
    {"bench --check softmax --peephole", {"--peephole", "softmax"}},
    {"bench --check softmax --hidden 4 --layers 2", {"--layers", "softmax"}},
    {"bench --check softmax --hidden 4,5", {"--hidden", "softmax"}},
    {"bench --check softmax --pass forward", {"--pass", "softmax"}},
    {"bench --check latency --pass step", {"--pass and --check latency", "stream"}},
    {"bench --check denormals --pass step", {"--pass and --check denormals", "step"}},
    {"bench --check threads --schedule teams", {"--schedule and --check"}},
    {"bench --check threads --pass inference --weight-dropout 0.5", {"--weight-dropout is 0.5", "training"}},
    {"bench --check schedules --pass stream --direction reverse --hidden 4",
     {"direction is reverse", "forward"}},
    {"bench --check latency --words 10", {"--words", "--check softmax"}},
    {"bench --hidden 4 --dropout 0.5", {"--dropout is 0.5", "--layers is 1"}},
    {"bench --hidden 4 --dropout-masks sequence", {"--dropout-masks is sequence", "--recurrent-dropout"}},
    {"bench --hidden 4 --pass inference --weight-dropout 0.5", {"--weight-dropout is 0.5", "training"}},
    {"bench --hidden 4,4 --pass stream --dropout 0.5", {"--dropout is 0.5", "training"}},
    {"bench --check latency --input-dropout 0.5", {"--input-dropout is 0.5", "training"}},
    {"bench --direction up", {"--direction up", "must be one of forward, reverse, bidirectional"}},
    {"bench --activation up", {"--activation up: must be one of default, tanh, relu, "}},
    {"bench --cell up", {"--cell up: must be one of rnn, gru, "}},
    {"bench --shapes up", {"--shapes: up: ", "lists are anchors, cells, "}},
    {"inspect --cell lstm --merge sum", {"--merge is sum", "bidirectional"}},
    {"bench --direction reverse --pass stream --hidden 4", {"direction is reverse", "forward"}},
    {"inspect --init zeros", {"--init zeros", "orthogonal"}},
    {"inspect @/missing", {"missing"}},
    {"inspect @/damaged", {"checksum"}},
    {"inspect @/not-finite @/text", {"not-finite: the model's weights are not finite: output.bias["}},
    {"inspect @/model --gain 2", {"--gain", "without a MODEL"}},
    {"inspect @/model @/text --batch 1000 --time 1000",
     {"text: 6200 characters, --batch 1000 x --time 1000 + 1 are needed"}},
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

/* Said once, without the field's name, and by the option that the user knows. */
static void a_value_is_named_once(void **state) {
  (void)state;
  struct result result = run_line("train lm @/text --dropout -0.1");
  assert_string_equal(result.err,
                      "gatekern train lm: --dropout -0.1: must be a number that is not negative\n");
  free_result(&result);
}

/* What is not the option's fault does not name it. */
static void the_environment_is_named_where_it_is_at_fault(void **state) {
  (void)state;
  static const char *const lines[] = {"info", "verify", "train lm @/text", "eval @/model --isa auto"};
  setenv("GATEKERN_ISA", "sse9", 1);
  for (size_t i = 0; i < sizeof lines / sizeof *lines; ++i) {
    struct result result = run_line(lines[i]);
    if (result.exit_code != 2 || !strstr(result.err, "GATEKERN_ISA") || strstr(result.err, "--isa"))
      fail_msg("gatekern %s: exit %d: %s", lines[i], result.exit_code, result.err);
    free_result(&result);
  }
  unsetenv("GATEKERN_ISA");
}

/* More than any machine has: how much, and what asks for it; what is known is said before. */
static void too_little_memory_is_said_with_what_asks_for_it(void **state) {
  (void)state;
  static const char log[] = "{\"step\": 1}\n";
  write_file(temporary_path("kept.log"), log, sizeof log);
  struct result result =
      run_line("train lm @/text --hidden 65536 --layers 64 --steps 1 --out @/huge --log @/kept.log");
  assert_int_equal(result.exit_code, 1);
  assert_non_null(strstr(result.out, "model    lstm, 64 x 65536"));
  assert_non_null(strstr(result.out, "memory   "));
  assert_non_null(strstr(result.err, "no memory for 8192."));
  assert_non_null(strstr(result.err, "GiB (--hidden 65536, --layers 64)"));
  free_result(&result);
  assert_false(file_exists(temporary_path("huge")));
  size_t bytes;
  free(read_file(temporary_path("kept.log"), &bytes));
  assert_int_equal(bytes, sizeof log); /* of a run before, which this one has not replaced */
}

static void bad_input_is_one_line_and_changes_no_file(void **state) {
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

static void expect_help(const char *line, const char *const *says) {
  expect_says(line, says);
  struct result result = run_line(line);
  for (const char *text = result.out; *text;) {
    const size_t length = strcspn(text, "\n");
    if (length > 79)
      fail_msg("gatekern %s: a line of %zu characters: %.*s", line, length, (int)length, text);
    text += length + (text[length] == '\n');
  }
  free_result(&result);
}

static void help_says_how_a_command_is_used(void **state) {
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
  const char *const bench[] = {"Usage: gatekern bench", "Exit code 3", "--words V", "Examples:", NULL};
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
  expect_help("bench --help", bench);
  const char *const inspect[] = {"Usage: gatekern inspect [MODEL] [FILE]", "vanishes", "--gain", NULL};
  expect_help("inspect --help", inspect);
  expect_help("--version", version);
}

static bool of_other_directions(const char *name) {
  return strcmp(name, "direction") == 0 || strcmp(name, "merge") == 0 || strncmp(name, "reverse-", 8) == 0;
}

/* Every option of a training; of a network, with its names, wherever a network is made; but language models
 * walk forward only: what they would refuse is not offered. */
static void help_names_every_option(void **state) {
  (void)state;
  static const char *const commands[] = {"train lm --help", "bench --help", "inspect --help", "info --help"};
  for (size_t i = 0; i < sizeof commands / sizeof *commands; ++i)
    for (int option = 0; option < gk_rnn_option_count(); ++option) {
      char name[64];
      snprintf(name, sizeof name, "--%s", gk_rnn_option_name(option));
      const char *const says[] = {name, gk_rnn_option_choice(option, 0), NULL};
      if (i > 0 || !of_other_directions(gk_rnn_option_name(option))) {
        expect_says(commands[i], says);
        continue;
      }
      struct result result = run_line(commands[i]);
      if (strstr(result.out, name))
        fail_msg("gatekern %s offers %s", commands[i], name);
      free_result(&result);
    }
  for (const gk_training_option *option = gk_training_option_after(NULL); option;
       option = gk_training_option_after(option)) {
    char name[64];
    snprintf(name, sizeof name, "--%s", option->name ? option->name : "");
    const char *const says[] = {name, option->choice ? option->choice(1) : NULL, NULL};
    expect_says("train lm --help", says);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bad_input_is_one_line_and_changes_no_file),
      cmocka_unit_test(a_value_is_named_once),
      cmocka_unit_test(the_environment_is_named_where_it_is_at_fault),
      cmocka_unit_test(too_little_memory_is_said_with_what_asks_for_it),
      cmocka_unit_test(help_says_how_a_command_is_used),
      cmocka_unit_test(help_names_every_option),
  };
  return cmocka_run_group_tests(tests, set_up, NULL);
}
