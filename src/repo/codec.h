/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How content is compressed: zstd. One codec a thread. */
#ifndef REPO_CODEC_H
#define REPO_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct codec;

int codec_new(struct codec **c, struct error *e);
void codec_free(struct codec *c); /* NULL is fine */

/* Compress at most CHUNK_MAX_BYTES: the frame, the codec's own until its next use, and its length,
 * which may be some bytes more than the content's. 0: it can't be done. */
size_t codec_zip(struct codec *c, const void *content, size_t bytes, const void **frame);

/* DAMAGED: it is no frame of `bytes` of content. */
int codec_unzip(struct codec *c, void *to, size_t bytes, const void *frame, size_t frame_bytes,
                struct error *e);

#endif
