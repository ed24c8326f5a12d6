// How the process of a case tells the main one what happened: lines in a pipe, then its status.
#pragma once

#include <stdint.h>

enum { CASE_PASSED = 0, CASE_FAILED = 1, CASE_SKIPPED = 77 };

// The first character of a line.
enum { REPORT_REASON = '!', REPORT_NOTE = '+', REPORT_MOVED = '=' };

void report_open(int fd);
// The bytes moved since.
uint64_t report_moved(void);
void report_close(void);
