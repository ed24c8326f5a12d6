import CPlatform
#if MUTANTS
    import Fencing
#endif
import Glibc
import PageTables

/// A copy or fill under way: everything that has to outlive a quantum.
struct Transfer {
    /// 0 for a fill.
    var source: UInt64 = 0
    var destination: UInt64 = 0
    var sourcePitch: UInt64 = 0
    var destinationPitch: UInt64 = 0
    var lineBytes: UInt64 = 0
    /// Lines still to finish, the current one included; 0 when there is nothing to do.
    var lines: UInt64 = 0
    /// Bytes of the current line that are done.
    var done: UInt64 = 0
    /// The pattern of a fill; nil for a copy.
    var pattern: UInt32?
    /// Whether it is part of a copy that is larger than the caches; see ``CopyRun``.
    var isStreamed = false

    /// Where a transfer could not go on.
    enum Stop: Error {
        case source(Fault)
        case destination(Fault)
    }

    var isActive: Bool { lines != 0 }

    /// Nothing to do.
    init() {}

    init(copy bytes: UInt64, from source: UInt64, to destination: UInt64) {
        self.source = source
        self.destination = destination
        lineBytes = bytes
        lines = bytes == 0 ? 0 : 1
    }

    init(fill bytes: UInt64, at destination: UInt64, pattern: UInt32) {
        self.init(copy: bytes, from: 0, to: destination)
        self.pattern = pattern
    }

    init(
        copyLines lines: UInt32, of lineBytes: UInt32, from source: UInt64, sourcePitch: UInt32,
        to destination: UInt64, destinationPitch: UInt32
    ) {
        self.init(
            lines: UInt64(lines), of: UInt64(lineBytes), from: source,
            sourcePitch: UInt64(sourcePitch), to: destination,
            destinationPitch: UInt64(destinationPitch))
    }

    init(
        lines: UInt64, of lineBytes: UInt64, from source: UInt64, sourcePitch: UInt64,
        to destination: UInt64, destinationPitch: UInt64
    ) {
        self.init(copy: lineBytes, from: source, to: destination)
        if sourcePitch == lineBytes, destinationPitch == lineBytes {
            // Lines without gaps are one line.
            self.lineBytes = lineBytes &* lines
            self.lines = self.lineBytes == 0 ? 0 : 1
        } else {
            self.sourcePitch = sourcePitch
            self.destinationPitch = destinationPitch
            self.lines = lineBytes == 0 ? 0 : lines
        }
    }

    /// Fills lines; the pattern begins anew with each.
    init(
        fillLines lines: UInt64, of lineBytes: UInt64, at destination: UInt64,
        destinationPitch: UInt64, pattern: UInt32
    ) {
        self.init(fill: lineBytes, at: destination, pattern: pattern)
        if destinationPitch == lineBytes && lineBytes % 4 == 0 {
            self.lineBytes = lineBytes &* lines
            self.lines = self.lineBytes == 0 ? 0 : 1
        } else {
            self.destinationPitch = destinationPitch
            self.lines = lineBytes == 0 ? 0 : lines
        }
    }

    /// Moves the next piece of 1…`limit` bytes and returns its length.
    mutating func step(
        _ limit: UInt64, _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Stop) -> UInt64 {
        let limit = min(limit, lineBytes &- done)
        let moved: UInt64
        if let pattern {
            moved = try fill(pattern, limit, access, space)
        } else {
            moved = try copy(limit, access, space)
        }
        done &+= moved
        if done == lineBytes {
            done = 0
            lines &-= 1
            source &+= sourcePitch
            destination &+= destinationPitch
        }
        return moved
    }

    private func copy(
        _ limit: UInt64, _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Stop) -> UInt64 {
        let from = source &+ done
        let to = destination &+ done
        var bytes = limit
        // A piece no longer than the distance reads nothing that it writes: byte order is kept.
        let distance = to &- from
        if distance != 0 { bytes = min(bytes, distance) }

        var data: UnsafeMutableRawPointer?
        switch access.translate(space: space, address: from, length: bytes, intent: .read) {
        case .memory(let pointer, let length): (data, bytes) = (pointer, length)
        case .null(let length): bytes = length
        case .fault(let fault): throw .source(fault)
        }
        switch access.translate(space: space, address: to, length: bytes, intent: .write) {
        case .memory(let pointer, let length):
            bytes = length
            #if MUTANTS
                let drops = Mutant.isPlanted("copyDropsTail") && bytes == lineBytes &- done
                let count = Int(drops ? bytes & ~7 : bytes)
            #else
                let count = Int(bytes)
            #endif
            if let data {
                Self.move(pointer, data, count, isStreamed: isStreamed)
            } else {
                memset(pointer, 0, count)
            }
        case .null(let length): bytes = length
        case .fault(let fault): throw .destination(fault)
        }
        return bytes
    }

    private static func move(
        _ to: UnsafeMutableRawPointer, _ from: UnsafeMutableRawPointer, _ count: Int,
        isStreamed: Bool
    ) {
        // Two addresses may lead to one memory.
        if isStreamed, abs(to - from) >= count {
            gpuvm_copy_streaming(to, from, count)
        } else {
            memmove(to, from, count)
        }
    }

    private func fill(
        _ pattern: UInt32, _ limit: UInt64, _ access: borrowing MMUAccess, _ space: AddressSpace
    ) throws(Stop) -> UInt64 {
        let to = destination &+ done
        switch access.translate(space: space, address: to, length: limit, intent: .write) {
        case .memory(let pointer, let length):
            // A piece may begin inside of the pattern.
            let shift = UInt32(truncatingIfNeeded: done & 3) &* 8
            let rotated = shift == 0 ? pattern : pattern &>> shift | pattern &<< (32 &- shift)
            Self.fill(pointer, Int(length), rotated)
            return length
        case .null(let length): return length
        case .fault(let fault): throw .destination(fault)
        }
    }

    private static func fill(_ pointer: UnsafeMutableRawPointer, _ count: Int, _ pattern: UInt32) {
        let byte = UInt8(truncatingIfNeeded: pattern)
        if pattern == UInt32(byte) &* 0x0101_0101 {
            memset(pointer, Int32(byte), count)
            return
        }
        let word = (UInt64(pattern) << 32 | UInt64(pattern)).littleEndian
        var offset = 0
        while offset &+ 8 <= count {
            pointer.storeBytes(of: word, toByteOffset: offset, as: UInt64.self)
            offset &+= 8
        }
        withUnsafeBytes(of: word) { bytes in
            for index in offset..<count {
                pointer.storeBytes(of: bytes[index - offset], toByteOffset: index, as: UInt8.self)
            }
        }
    }
}
