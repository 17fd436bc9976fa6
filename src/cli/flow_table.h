/* SPDX-License-Identifier: Apache-2.0 */
/* What `inspect` prints: how gradients flow back through networks, or through the layers of one. */
#ifndef GATEKERN_CLI_FLOW_TABLE_H
#define GATEKERN_CLI_FLOW_TABLE_H

#include <gatekern.h>

enum { FLOW_MOST_GATES = 8 };

struct flow_column {
  char name[48];
  double *norms; /* (T), of dL/dh_t over the batch */
  int gates;
  const char *gate[FLOW_MOST_GATES];
  double radii[FLOW_MOST_GATES]; /* of each gate's recurrent matrix */
};

struct flow_table {
  int64_t time;
  int count;
  struct flow_column *columns;
};

/* Columns of zeros. false: there is no memory; it is to be freed all the same. */
bool flow_table_make(struct flow_table *table, int64_t time, int count);
void flow_table_free(struct flow_table *table);
int flow_gates(const gk_rnn_desc *network);
/* The number of gates and their names. */
void flow_column_name_gates(struct flow_column *column, const gk_rnn_desc *network);
void flow_table_print(const struct flow_table *table);
void flow_table_print_json(const struct flow_table *table);

#endif
