/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdint.h>

/* Memory that programs can still get without swapping (MemAvailable of /proc/meminfo); 0 if
 * unknown. */
uint64_t memory_available_bytes(void);

#endif
