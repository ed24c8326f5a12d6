// What the explorer of interleavings needs of the system and cannot call from Swift: fork(2), the
// CPU set macros, personality(2), and a result that a run shares with the explorer.
#ifndef GPUVM_CINTERLEAVINGS_H
#define GPUVM_CINTERLEAVINGS_H

#include <stddef.h>
#include <stdint.h>

/// How a run ended, as it wrote it down itself; one that died before has `running`.
enum il_verdict {
    il_running = 0,
    il_passed = 1,
    il_failed = 2,
};

#define IL_REASON_BYTES 4096
#define IL_NAME_BYTES 32
#define IL_NOTES 20
/// The most runs at a time.
#define IL_SLOTS 64

/// One run's result, in memory that run and explorer share.
struct il_result {
    uint32_t verdict;
    uint64_t trace_hash;
    uint64_t points;
    uint64_t switches;
    uint64_t clock;
    /// What the scenario counted, so that a verdict shows what was exercised.
    uint64_t notes[IL_NOTES];
    char note_names[IL_NOTES][IL_NAME_BYTES];
    char strategy[IL_NAME_BYTES];
    char reason[IL_REASON_BYTES];
};

/// What one run is to do.
struct il_request {
    uint64_t seed;
    /// Index of the scenario.
    uint32_t scenario;
    /// 0…IL_SLOTS - 1: where the result goes, and on which CPU it runs.
    uint32_t slot;
    /// Seconds of real time after which SIGALRM ends the run.
    uint32_t seconds;
    /// stderr is the explorer's, and not the slot's log.
    uint8_t is_replay;
    uint8_t is_verbose;
};

/// How a run's process ended.
struct il_ended {
    uint32_t slot;
    /// The exit status, or 256 + the signal.
    int32_t status;
};

/// Called first in main.
///
/// Starts the program anew, once, with addresses and hash tables that are the same in every process
/// (where the system allows that), then leaves a process behind that does nothing but fork runs: each
/// begins with the same heap, whatever the explorer has done meanwhile.
///
/// Returns 0 in the explorer; 1, with its request, in each run.
int il_begin(char *const argv[], struct il_request *request);

/// Whether addresses are the same in every process.
int il_has_fixed_addresses(void);
/// Explorer: starts a run; 0 or -errno.
int il_start_run(const struct il_request *request);
/// Explorer: waits for the end of any run; 0 or -errno.
int il_wait_run(struct il_ended *ended);
/// The result of a slot.
struct il_result *il_result_of(uint32_t slot);
/// The end of what the slot's last run wrote to stderr; the number of bytes.
size_t il_read_log(uint32_t slot, char *bytes, size_t capacity);
/// Explorer: adds the coverage of all runs to its own, which is written at exit. Nothing in a build
/// without coverage.
void il_write_coverage(void);
/// Run: ends the process at once; its coverage counters, if there are any, are kept.
_Noreturn void il_exit(int status);
/// How many CPUs the process may use.
int il_cpu_count(void);
/// Run: prints one scheduling point to stderr; allocates nothing, so that a run that is watched is
/// the same as one that is not. `lock_class` may be NULL, `address` 0.
void il_print_point(uint64_t clock, uint32_t thread, const char *name, const char *kind,
                    const char *lock_class, uint64_t address);
/// A small number for an address, in the order of first appearance.
uint32_t il_number_of(uint64_t address);
/// Writes a line to stderr.
void il_complain(const char *text);
/// Copies up to the zero, at most `capacity - 1` bytes, and ends with a zero.
void il_copy_text(char *to, size_t capacity, const char *from);

#endif
