/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GK_SEQUENCE_DECODER_CALL_H
#define GK_SEQUENCE_DECODER_CALL_H

#include "src/sequence/feedback.h"

/* gk_decoder_forward where `beams` samples in a row share a source and its length: the source has batch /
 * beams. */
gk_status gk_decoder_forward_beams(const gk_decoder *decoder, const gk_decoder_forward_args *args,
                                   int64_t beams);

#endif
