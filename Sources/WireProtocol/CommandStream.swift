import CWireProtocol

/// How a semaphore wait compares memory with its value, unsigned.
public enum SemaphoreCompare: UInt32, CaseIterable, Sendable {
    /// memory == value.
    case equal = 0
    /// memory != value.
    case notEqual = 1
    /// memory >= value.
    case greaterOrEqual = 2
    /// memory > value.
    case greater = 3
    /// memory < value.
    case less = 4
    /// memory <= value.
    case lessOrEqual = 5
}

/// Writes a command stream of the generic engine: `gpuvm_commands.h` in Swift.
///
/// Each method appends one command; the engine checks what is written, not the writer. The dwords
/// are in host order, which is the wire's on every machine that this runs on (little-endian).
///
/// ```swift
/// var commands = CommandWriter()
/// commands.copy(from: source, to: destination, bytes: 1 << 20)
/// commands.releaseSemaphore(at: semaphore, value: 1)
/// commands.end()
/// ```
///
/// Threading: a value.
public struct CommandWriter: Sendable {
    /// The stream so far.
    public private(set) var dwords: [UInt32] = []

    /// Starts an empty stream.
    public init() {}

    /// The length of the stream so far, bytes.
    public var byteCount: UInt64 { UInt64(dwords.count) * 4 }

    /// Skips `dwords` dwords (1…65535), its own header included.
    public mutating func nop(dwords count: UInt16 = 1) {
        dwords.append(UInt32(max(count, 1)) << 16 | GPUVM_CMD_NOP)
        for _ in 1..<max(count, 1) { dwords.append(0) }
    }

    /// Ends the batch.
    public mutating func end() { append(GPUVM_CMD_END) }

    /// Continues at `target`, a multiple of 4.
    public mutating func jump(to target: UInt64) { append(GPUVM_CMD_BATCH_JUMP, target) }

    /// Copies bytes, in the order of ascending addresses.
    public mutating func copy(from source: UInt64, to destination: UInt64, bytes: UInt64) {
        append(GPUVM_CMD_COPY_LINEAR, source, destination, bytes)
    }

    /// Copies lines.
    ///
    /// - Parameters:
    ///   - sourcePitch: Bytes from one line to the next.
    ///   - destinationPitch: Bytes from one line to the next.
    ///   - lineBytes: Bytes to copy of each line.
    ///   - lines: How many.
    public mutating func copyPitched(
        from source: UInt64, sourcePitch: UInt32, to destination: UInt64,
        destinationPitch: UInt32, lineBytes: UInt32, lines: UInt32
    ) {
        append(
            GPUVM_CMD_COPY_PITCHED, source, destination,
            UInt64(destinationPitch) << 32 | UInt64(sourcePitch),
            UInt64(lines) << 32 | UInt64(lineBytes))
    }

    /// Repeats the four bytes of `pattern`, low byte first, over `bytes` bytes.
    public mutating func fill(_ destination: UInt64, bytes: UInt64, pattern: UInt32) {
        append(GPUVM_CMD_FILL, destination, bytes, last: pattern)
    }

    /// Stores a dword at a multiple of 4.
    public mutating func store(_ address: UInt64, dword value: UInt32) {
        append(GPUVM_CMD_STORE_DWORD, address, last: value)
    }

    /// Stores a qword at a multiple of 8.
    public mutating func store(_ address: UInt64, qword value: UInt64) {
        append(GPUVM_CMD_STORE_QWORD, address, value)
    }

    /// Waits until the qword at `address` (a multiple of 8), masked, compares with `value`.
    public mutating func waitSemaphore(
        at address: UInt64, _ compare: SemaphoreCompare, value: UInt64, mask: UInt64 = .max
    ) {
        append(GPUVM_CMD_SEMAPHORE_WAIT, flags: compare.rawValue, address, value, mask)
    }

    /// Waits until the dword at `address` (a multiple of 4), masked, compares with `value`.
    public mutating func waitSemaphore32(
        at address: UInt64, _ compare: SemaphoreCompare, value: UInt32, mask: UInt32 = .max
    ) {
        append(
            GPUVM_CMD_SEMAPHORE_WAIT, flags: compare.rawValue | GPUVM_CMD_SEMAPHORE_32, address,
            UInt64(value), UInt64(mask))
    }

    /// Stores a qword at a multiple of 8, after all earlier writes.
    public mutating func releaseSemaphore(at address: UInt64, value: UInt64) {
        append(GPUVM_CMD_SEMAPHORE_RELEASE, address, value)
    }

    /// Stores a dword at a multiple of 4, after all earlier writes.
    public mutating func releaseSemaphore32(at address: UInt64, value: UInt32) {
        append(GPUVM_CMD_SEMAPHORE_RELEASE, flags: GPUVM_CMD_SEMAPHORE_32, address, UInt64(value))
    }

    /// Stores the time, CLOCK_MONOTONIC ns, in the qword at a multiple of 8.
    public mutating func timestamp(at address: UInt64) { append(GPUVM_CMD_TIMESTAMP, address) }

    private mutating func append(
        _ opcode: UInt32, flags: UInt32 = 0, _ qwords: UInt64..., last: UInt32? = nil
    ) {
        let length = UInt32(1 + 2 * qwords.count + (last == nil ? 0 : 1))
        dwords.append(length << 16 | flags << 8 | opcode)
        for qword in qwords {
            dwords.append(UInt32(truncatingIfNeeded: qword))
            dwords.append(UInt32(truncatingIfNeeded: qword >> 32))
        }
        if let last { dwords.append(last) }
    }
}
