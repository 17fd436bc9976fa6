/* SPDX-License-Identifier: Apache-2.0 */
#include "info_plan.h"

#include <stdio.h>

#include "shape_text.h"

/* Of a training step, and of inference. */
struct plans {
  gk_rnn_plan_info training, inference;
};

/* The passes that a training step packs for (`gatekern train` forward in any case: it also evaluates). */
static const char *packing(const gk_rnn_plan_info *info) {
  return !info->pack_flags ? "neither" : info->pack_flags & GK_PACK_BACKWARD ? "both" : "forward";
}

static void print_text(const char *list, const bench_shape *s, const gk_rnn_desc *desc,
                       const struct plans *plans) {
  const gk_rnn_plan_info *info = &plans->training, *inference = &plans->inference;
  const gk_rnn_desc asked = bench_shape_description(s); /* without the defaults */
  char network[CLI_NETWORK_TEXT];
  cli_network_text(&asked, network);
  printf("%s%s%s%s: %s; input %lld, batch %lld, time %lld; %s\n", list, *list ? "/" : "", s->name,
         *s->name ? "" : "network", network, (long long)s->input, (long long)s->batch, (long long)s->time,
         gk_isa_name(desc->isa));
  printf("  %-10s%-7s  %s\n", "schedule", gk_schedule_name(info->schedule), info->schedule_reason);
  printf("  %-10s%-7d  %s\n", "threads", info->threads, info->threads_reason);
  printf("  %-10s%-7lld  %s\n", "chunk", (long long)info->chunk, info->chunk_reason);
  printf("  %-10s%-7s  %s\n", "packing", packing(info), info->packing_reason);
  printf("  %-10s%-7s  %s\n", "inference", gk_schedule_name(inference->schedule), inference->schedule_reason);
  printf("  %-10s%-7d  %s\n", "", inference->threads, inference->threads_reason);
}

/* Names and reasons hold nothing that JSON escapes. */
static void print_json(const char *list, const bench_shape *s, const gk_rnn_desc *desc,
                       const struct plans *plans) {
  const gk_rnn_plan_info *info = &plans->training, *inference = &plans->inference;
  printf("{");
  if (*list)
    printf("\"list\": \"%s\", ", list);
  shape_print_json(s);
  printf("\"isa\": \"%s\", ", gk_isa_name(desc->isa));
  printf("\"schedule\": \"%s\", \"schedule_reason\": \"%s\", \"threads\": %d, \"threads_reason\": \"%s\", "
         "\"chunk\": %lld, \"chunk_reason\": \"%s\", \"rows_a_thread\": %lld, \"step_flop\": %.17g, "
         "\"packing\": \"%s\", \"packing_reason\": \"%s\", "
         "\"inference\": {\"schedule\": \"%s\", \"schedule_reason\": \"%s\", \"threads\": %d, "
         "\"threads_reason\": \"%s\"}}\n",
         gk_schedule_name(info->schedule), info->schedule_reason, info->threads, info->threads_reason,
         (long long)info->chunk, info->chunk_reason, (long long)info->rows, info->step_flop, packing(info),
         info->packing_reason, gk_schedule_name(inference->schedule), inference->schedule_reason,
         inference->threads, inference->threads_reason);
}

static int print_plan(const cli_command *command, const struct plan_settings *settings, bool json,
                      const char *list, const bench_shape *shape) {
  gk_rnn *rnn;
  struct plans plans = {GK_RNN_PLAN_INFO_INIT, GK_RNN_PLAN_INFO_INIT};
  bench_shape whole = *shape;
  whole.options = settings->network;
  gk_rnn_desc desc = bench_shape_description(&whole);
  desc.isa = (gk_isa)settings->isa;
  desc.schedule = (gk_schedule)settings->schedule;
  desc.threads = (int)settings->threads;
  gk_status status = gk_rnn_create(&desc, &rnn);
  if (status == GK_OK)
    status = gk_rnn_explain_plan(rnn, shape->time, shape->batch, true, &plans.training);
  if (status == GK_OK)
    status = gk_rnn_explain_plan(rnn, shape->time, shape->batch, false, &plans.inference);
  if (status == GK_OK)
    (json ? print_json : print_text)(list, &whole, gk_rnn_description(rnn), &plans);
  gk_rnn_destroy(rnn);
  return cli_status(command, status);
}

static int print_list(const cli_command *command, const struct plan_settings *settings, bool json,
                      const char *list) {
  char message[512];
  bench_shapes shapes;
  int exit_code = CLI_SUCCESS;
  if (!bench_shapes_load(list, &shapes, message, sizeof message))
    return cli_error(command, "--shapes: %s", message);
  for (size_t i = 0; i < shapes.count && exit_code == CLI_SUCCESS; i++)
    exit_code = print_plan(command, settings, json, settings->shapes ? "" : list, &shapes.shape[i]);
  bench_shapes_free(&shapes);
  return exit_code;
}

int print_plans(const cli_command *command, struct plan_settings *settings, bool json) {
  const char *one = shape_option_given();
  if (one && settings->shapes)
    return cli_error(command, "--%s and --shapes: the list says which networks are explained", one);
  if (!cli_take_layers(command, &settings->hidden, settings->layers, &settings->network))
    return CLI_BAD_INPUT;
  if (!cli_check_masks(command, &settings->network, one ? settings->network.layers : 0, true))
    return CLI_BAD_INPUT;
  if (one)
    return print_plan(command, settings, json, "",
                      &(bench_shape){.cell = (gk_cell)settings->cell,
                                     .input = settings->input ? settings->input : settings->hidden.sizes[0],
                                     .hidden = settings->hidden.sizes[0],
                                     .batch = settings->batch,
                                     .time = settings->time,
                                     .layers = settings->network.layers});
  if (settings->shapes)
    return print_list(command, settings, json, settings->shapes);
  int exit_code = CLI_SUCCESS;
  for (const bench_list *list = bench_lists; list->name && exit_code == CLI_SUCCESS; list++)
    exit_code = print_list(command, settings, json, list->name);
  return exit_code;
}
