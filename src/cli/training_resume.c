/* SPDX-License-Identifier: Apache-2.0 */
#include "training_resume.h"

#include <string.h>

/* `has`, `value`: the option that the run has instead, "" for a flag's value; has NULL: none. */
static int refuse(const struct training_run *run, const char *name, const char *has, const char *value) {
  const char *asked = cli_given_text(name);
  return cli_error(run->command, "--%s%s%s: the run in %s has %s%s%s%s; leave it out", name,
                   *asked ? " " : "", asked, run->state_path, has ? "--" : "none", has ? has : "",
                   *value ? " " : "", value);
}

static int check_network_options(const struct training_run *run, const gk_rnn_desc *asked,
                                 const gk_rnn_desc *found) {
  for (int i = 0; i < gk_rnn_option_count(); i++) {
    const char *name = gk_rnn_option_name(i);
    char wanted[96], has[96];
    if (!cli_given(name))
      continue;
    gk_status status = gk_rnn_option_get(asked, name, wanted, sizeof wanted);
    if (status == GK_OK)
      status = gk_rnn_option_get(found, name, has, sizeof has);
    if (status != GK_OK)
      return cli_status(run->command, status);
    if (strcmp(wanted, has) != 0)
      return refuse(run, name, *has ? name : NULL, has);
  }
  return CLI_SUCCESS;
}

static int check_training_options(const struct training_run *run, const gk_training_desc *asked,
                                  const gk_training_desc *found) {
  struct train_settings has = *run->settings;
  has.training = *found;
  for (const gk_training_option *option = gk_training_option_after(NULL); option;
       option = gk_training_option_after(option)) {
    char value[CLI_VALUE_TEXT];
    if (!option->name || option->rate_offset || !cli_given(option->name) ||
        memcmp((const char *)asked + option->offset, (const char *)found + option->offset, option->bytes) ==
            0)
      continue;
    cli_value_text(option->name, &has, value);
    return refuse(run, option->name, option->type == GK_OPTION_FLAG ? NULL : option->name, value);
  }
  return CLI_SUCCESS;
}

static bool same_hidden(const struct cli_hidden *asked, const gk_rnn_desc *network) {
  bool same = asked->count == 1 || asked->count == network->layers;
  for (int64_t l = 0; same && l < network->layers; ++l)
    same = asked->sizes[asked->count == 1 ? 0 : l] ==
           (network->hidden_sizes ? network->hidden_sizes[l] : network->hidden_size);
  return same;
}

static int check_structure(const struct training_run *run, const gk_language_model_desc *asked,
                           const gk_language_model_desc *found) {
  const gk_rnn_desc *network = &found->network;
  struct train_settings has = *run->settings;
  has.cell = (int)network->cell;
  has.layers = network->layers;
  has.embed = network->input_size;
  const struct {
    const char *name;
    bool same;
    const char *has;
  } fixed[] = {{"cell", asked->network.cell == network->cell, "cell"},
               {"layers", asked->network.layers == network->layers, "layers"},
               {"embed", asked->network.input_size == network->input_size, "embed"},
               {"utf8", found->utf8, "bytes"},
               {"bytes", !found->utf8, "utf8"},
               {"tie", asked->tied == found->tied, NULL}};
  for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; ++i) {
    char value[CLI_VALUE_TEXT];
    if (!cli_given(fixed[i].name) || fixed[i].same)
      continue;
    cli_value_text(fixed[i].name, &has, value);
    return refuse(run, fixed[i].name, fixed[i].has, value);
  }
  char hidden[CLI_HIDDEN_TEXT];
  cli_hidden_text(network, hidden);
  return cli_given("hidden") && !same_hidden(&run->settings->hidden, network)
             ? refuse(run, "hidden", "hidden", hidden)
             : CLI_SUCCESS;
}

int training_check_resumed(const struct training_run *run, const gk_language_model_desc *model,
                           const gk_training_desc *training) {
  const gk_language_model_desc *found =
      gk_language_model_description(gk_language_trainer_model(run->trainer));
  int exit_code = check_network_options(run, &model->network, &found->network);
  if (exit_code == CLI_SUCCESS)
    exit_code = check_structure(run, model, found);
  if (exit_code == CLI_SUCCESS)
    exit_code = check_training_options(run, training, gk_language_trainer_description(run->trainer));
  return exit_code;
}
