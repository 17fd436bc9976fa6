/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"

static gk_status create_network(const verify_job *job, const verify_plan *plan, gk_rnn **rnn,
                                gk_output **output) {
  const verify_case *c = job->kase;
  gk_rnn_desc desc = GK_RNN_DESC_INIT;
  desc.cell = job->cell;
  desc.input_size = c->input;
  desc.hidden_size = c->hidden;
  desc.layers = c->layers;
  desc.vocabulary = c->vocabulary;
  desc.direction = c->direction;
  if (c->structure) {
    desc.trained_states = true;
    desc.merge = c->direction == GK_BIDIRECTIONAL ? GK_MERGE_SUM : GK_MERGE_CONCATENATE;
    desc.projection_size = job->cell == GK_CELL_LSTM ? c->hidden : 0;
  }
  desc.layout = c->layout;
  desc.activation = c->activation;
  desc.dropout = c->dropout;
  if (c->masks) {
    desc.input_dropout = 0.25f;
    desc.recurrent_dropout = 0.125f;
    desc.weight_dropout = 0.5f;
    desc.zoneout_h = 0.25f;
    desc.zoneout_c = gk_cell_has_memory(job->cell) ? 0.125f : 0;
    desc.dropout_masks = c->dropout_masks;
  }
  desc.isa = plan->isa;
  desc.math = GK_MATH_OWN;
  desc.schedule = plan->schedule;
  desc.threads = plan->threads;
  gk_output_desc output_desc = GK_OUTPUT_DESC_INIT;
  output_desc.input_size = job->output_hidden;
  output_desc.output_size = OUTPUT_SIZE;
  output_desc.isa = plan->isa;
  output_desc.math = GK_MATH_OWN;
  output_desc.threads = plan->threads;
  gk_status status = gk_rnn_options_set(&desc, c->options);
  if (status == GK_OK)
    status = gk_rnn_create(&desc, rnn);
  return status == GK_OK ? gk_output_create(&output_desc, output) : status;
}

gk_status verify_open(const verify_case *this_case, gk_cell cell, uint64_t seed, verify_job **result) {
  *result = NULL;
  if (this_case->activation != GK_ACTIVATION_DEFAULT && cell != GK_CELL_RNN)
    return GK_ERROR_UNSUPPORTED;
  const verify_plan any = {.isa = GK_ISA_SCALAR, .threads = 1};
  gk_rnn *rnn = NULL;
  gk_output *output = NULL;
  verify_job *job = calloc(1, sizeof *job);
  if (!job)
    return GK_ERROR_MEMORY;
  job->kase = this_case;
  job->cell = cell;
  job->seed = seed;
  job->stream = checksum_text(CHECKSUM_START, this_case->name) << 8;
  const int64_t directions = this_case->direction == GK_BIDIRECTIONAL ? 2 : 1;
  job->output_hidden = (this_case->structure ? 1 : directions) * this_case->hidden;
  job->states = this_case->layers * directions * this_case->batch * this_case->hidden;
  job->pairs = this_case->batch * this_case->time;
  gk_status status = GK_OK;
  if (this_case->decoder.used)
    status = verify_decoder_data(job);
  else
    status = create_network(job, &any, &rnn, &output);
  if (status == GK_OK && rnn) {
    job->parameter_count = gk_rnn_parameter_count(rnn);
    job->output_parameter_count = gk_output_parameter_count(output);
    status = verify_make_data(job);
  }
  gk_rnn_destroy(rnn);
  gk_output_destroy(output);
  if (status != GK_OK)
    verify_close(job);
  else
    *result = job;
  return status;
}

void verify_close(verify_job *job) {
  if (!job)
    return;
  for (int i = 0; i < job->results; i++)
    free(job->result[i].values);
  verify_release(&job->data);
  free(job);
}

gk_status verify_compute(verify_job *job, const verify_plan *plan, const char **problem) {
  struct way way = {.job = job};
  job->compared = 0;
  job->problem = NULL;
  gk_status status = GK_OK;
  if (job->kase->decoder.used) {
    status = verify_decoder_compute(job, plan);
  } else {
    status = create_network(job, plan, &way.rnn, &way.output);
    if (status == GK_OK)
      status = verify_network(&way, plan);
  }
  verify_release(&way.pool);
  gk_output_destroy(way.output);
  gk_rnn_destroy(way.rnn);
  *problem = job->problem;
  return status;
}
