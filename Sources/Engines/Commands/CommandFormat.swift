import CWireProtocol

/// What a command's header must look like: `gpuvm_commands.h` as a table.
struct CommandFormat {
    /// The length in dwords; nil for any but 0.
    var dwords: UInt32?
    /// The flags that may be set.
    var flags: UInt32 = 0

    /// The longest command whose operands are read.
    static let longest = Int(GPUVM_CMD_COPY_PITCHED_DWORDS)

    /// The format of an opcode; nil if there is no such command.
    static func of(_ opcode: UInt32) -> CommandFormat? {
        switch opcode {
        case GPUVM_CMD_NOP: CommandFormat(dwords: nil)
        case GPUVM_CMD_END: CommandFormat(dwords: GPUVM_CMD_END_DWORDS)
        case GPUVM_CMD_BATCH_JUMP: CommandFormat(dwords: GPUVM_CMD_BATCH_JUMP_DWORDS)
        case GPUVM_CMD_COPY_LINEAR: CommandFormat(dwords: GPUVM_CMD_COPY_LINEAR_DWORDS)
        case GPUVM_CMD_COPY_PITCHED: CommandFormat(dwords: GPUVM_CMD_COPY_PITCHED_DWORDS)
        case GPUVM_CMD_FILL: CommandFormat(dwords: GPUVM_CMD_FILL_DWORDS)
        case GPUVM_CMD_STORE_DWORD: CommandFormat(dwords: GPUVM_CMD_STORE_DWORD_DWORDS)
        case GPUVM_CMD_STORE_QWORD: CommandFormat(dwords: GPUVM_CMD_STORE_QWORD_DWORDS)
        case GPUVM_CMD_SEMAPHORE_WAIT:
            CommandFormat(
                dwords: GPUVM_CMD_SEMAPHORE_WAIT_DWORDS,
                flags: GPUVM_CMD_COMPARE_MASK | GPUVM_CMD_SEMAPHORE_32)
        case GPUVM_CMD_SEMAPHORE_RELEASE:
            CommandFormat(
                dwords: GPUVM_CMD_SEMAPHORE_RELEASE_DWORDS, flags: GPUVM_CMD_SEMAPHORE_32)
        case GPUVM_CMD_TIMESTAMP: CommandFormat(dwords: GPUVM_CMD_TIMESTAMP_DWORDS)
        default: nil
        }
    }

    /// The name that the header file gives an opcode.
    static func name(opcode: UInt8) -> String {
        switch UInt32(opcode) {
        case GPUVM_CMD_NOP: "NOP"
        case GPUVM_CMD_END: "END"
        case GPUVM_CMD_BATCH_JUMP: "BATCH_JUMP"
        case GPUVM_CMD_COPY_LINEAR: "COPY_LINEAR"
        case GPUVM_CMD_COPY_PITCHED: "COPY_PITCHED"
        case GPUVM_CMD_FILL: "FILL"
        case GPUVM_CMD_STORE_DWORD: "STORE_DWORD"
        case GPUVM_CMD_STORE_QWORD: "STORE_QWORD"
        case GPUVM_CMD_SEMAPHORE_WAIT: "SEMAPHORE_WAIT"
        case GPUVM_CMD_SEMAPHORE_RELEASE: "SEMAPHORE_RELEASE"
        case GPUVM_CMD_TIMESTAMP: "TIMESTAMP"
        default: "opcode 0x" + String(opcode, radix: 16)
        }
    }

    /// Compares as a semaphore wait does; nil for an undefined comparison.
    static func compare(_ memory: UInt64, _ flags: UInt32, _ value: UInt64) -> Bool? {
        switch flags & GPUVM_CMD_COMPARE_MASK {
        case GPUVM_CMD_COMPARE_EQUAL: memory == value
        case GPUVM_CMD_COMPARE_NOT_EQUAL: memory != value
        case GPUVM_CMD_COMPARE_GREATER_EQUAL: memory >= value
        case GPUVM_CMD_COMPARE_GREATER: memory > value
        case GPUVM_CMD_COMPARE_LESS: memory < value
        case GPUVM_CMD_COMPARE_LESS_EQUAL: memory <= value
        default: nil
        }
    }
}
