// The command stream of the generic engine: the single source of truth for who writes commands
// (clients) and who executes them (the engine).
//
// A stream is a sequence of little-endian dwords at a GPU virtual address that is a multiple of 4.
// Each command begins with a header dword:
//
//     bits  7:0   opcode, GPUVM_CMD_*
//     bits 15:8   flags of the opcode; undefined bits must be 0
//     bits 31:16  length of the whole command in dwords, header included
//
// 64-bit operands are two dwords, the low one first. An unknown opcode, a length other than the
// opcode's, an undefined flag and a misaligned address stop the engine as a hang would: the job
// fails and its queue is banned. A zero dword is no command (its length is 0), so that running into
// cleared memory fails at once.
//
// Commands execute in order. Every write is visible to whoever sees a later command's write by an
// acquire load. Commands are fetched ahead, but never across a BATCH_JUMP, a SEMAPHORE_WAIT that
// had to wait, or the end of a time slice; who changes commands of a running stream orders it by one
// of the first two.
#ifndef GPUVM_COMMANDS_H
#define GPUVM_COMMANDS_H

// Opcode, then its dwords after the header, then its length in dwords.

// Skips. The header's length is the number of dwords skipped, 1 … 65535.
#define GPUVM_CMD_NOP 0x01u
// Ends the batch.
#define GPUVM_CMD_END 0x02u
#define GPUVM_CMD_END_DWORDS 1u
// Continues at another address:  target (2); a multiple of 4.
#define GPUVM_CMD_BATCH_JUMP 0x03u
#define GPUVM_CMD_BATCH_JUMP_DWORDS 3u

// Copies bytes:  source (2), destination (2), bytes (2). Any alignment, any length.
// The result is that of copying byte by byte at ascending addresses, also where the two overlap.
// Two different addresses of one memory may give any mixture of old and new bytes.
#define GPUVM_CMD_COPY_LINEAR 0x10u
#define GPUVM_CMD_COPY_LINEAR_DWORDS 7u
// Copies lines:  source (2), destination (2), source pitch (1), destination pitch (1), bytes of a
// line (1), lines (1). The pitches are bytes from one line to the next; line by line, ascending.
#define GPUVM_CMD_COPY_PITCHED 0x11u
#define GPUVM_CMD_COPY_PITCHED_DWORDS 9u
// Repeats a dword's four bytes:  destination (2), bytes (2), pattern (1). Any alignment, any length;
// the pattern's low byte comes first at the destination, and a tail is cut off to the byte.
#define GPUVM_CMD_FILL 0x12u
#define GPUVM_CMD_FILL_DWORDS 6u

// Stores a dword:  address (2), a multiple of 4; value (1).
#define GPUVM_CMD_STORE_DWORD 0x20u
#define GPUVM_CMD_STORE_DWORD_DWORDS 4u
// Stores a qword:  address (2), a multiple of 8; value (2).
#define GPUVM_CMD_STORE_QWORD 0x21u
#define GPUVM_CMD_STORE_QWORD_DWORDS 5u

// Waits until (memory & mask) compares with value:  address (2), value (2), mask (2). The address
// is a multiple of 8, or of 4 with GPUVM_CMD_SEMAPHORE_32, which uses the low dwords of value and
// mask. Flags: one of GPUVM_CMD_COMPARE_*. Meanwhile the engine executes other queues.
#define GPUVM_CMD_SEMAPHORE_WAIT 0x30u
#define GPUVM_CMD_SEMAPHORE_WAIT_DWORDS 7u
// Stores value after all writes of earlier commands:  address (2), value (2); alignment as above.
#define GPUVM_CMD_SEMAPHORE_RELEASE 0x31u
#define GPUVM_CMD_SEMAPHORE_RELEASE_DWORDS 5u
// Stores the time:  address (2), a multiple of 8. CLOCK_MONOTONIC in ns, a qword.
#define GPUVM_CMD_TIMESTAMP 0x40u
#define GPUVM_CMD_TIMESTAMP_DWORDS 3u

// Flags of the semaphore commands: the low three bits of a wait say how memory must compare with
// the value, unsigned.
#define GPUVM_CMD_COMPARE_EQUAL 0x00u
#define GPUVM_CMD_COMPARE_NOT_EQUAL 0x01u
#define GPUVM_CMD_COMPARE_GREATER_EQUAL 0x02u
#define GPUVM_CMD_COMPARE_GREATER 0x03u
#define GPUVM_CMD_COMPARE_LESS 0x04u
#define GPUVM_CMD_COMPARE_LESS_EQUAL 0x05u
#define GPUVM_CMD_COMPARE_MASK 0x07u
// The semaphore is a dword.
#define GPUVM_CMD_SEMAPHORE_32 0x08u

#endif
