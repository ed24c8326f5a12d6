// A random run of binds, writes and reads against the host's model.
#pragma once

#include "gpu.h"

void random_walk(struct gpu *gpu, struct queue *mover, struct queue *binder, const char *tag,
                 unsigned index, unsigned steps);
