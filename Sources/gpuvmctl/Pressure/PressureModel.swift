import Glibc

// @unchecked: it owns its memory, and one client at a time uses it.
/// What every byte of a VM's buffers has to be, computed without the daemon.
///
/// Threading: one thread at a time.
final class PressureModel: @unchecked Sendable {
    /// A byte that is not what the model says: the first of a buffer.
    struct Difference: Equatable {
        var offset: UInt64
        var expected: UInt8
        var found: UInt8
        /// How many there are.
        var count: UInt64
    }

    private let buffers: [UnsafeMutableRawBufferPointer]
    private let noise: [UInt8]

    /// Buffers of zeros.
    init(sizes: [UInt64], noise: [UInt8]) {
        buffers = sizes.map { size in
            let buffer = UnsafeMutableRawBufferPointer.allocate(
                byteCount: Int(size), alignment: 16)
            buffer.initializeMemory(as: UInt8.self, repeating: 0)
            return buffer
        }
        self.noise = noise
    }

    deinit {
        for buffer in buffers { buffer.deallocate() }
    }

    /// The random bytes of a client.
    static func noise(seed: UInt64, bytes: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        let words = (0..<(bytes / 8)).map { _ in random.next().littleEndian }
        return words.withUnsafeBytes { Array($0) }
    }

    func apply(_ operation: PressureScenario.Operation) {
        switch operation {
        case .fill(let buffer, let offset, let bytes, let pattern):
            fill(part(buffer, offset, bytes), pattern)
        case .copy(let source, let fromOffset, let destination, let toOffset, let bytes):
            part(destination, toOffset, bytes).copyMemory(
                from: UnsafeRawBufferPointer(part(source, fromOffset, bytes)))
        case .noise(let fromOffset, let destination, let toOffset, let bytes):
            let target = part(destination, toOffset, bytes)
            noise.withUnsafeBytes { source in
                target.copyMemory(
                    from: UnsafeRawBufferPointer(
                        rebasing: source[Int(fromOffset)..<Int(fromOffset + bytes)]))
            }
        case .store(let buffer, let offset, let value):
            part(buffer, offset, 8).storeBytes(of: value.littleEndian, as: UInt64.self)
        }
    }

    private func part(
        _ buffer: Int, _ offset: UInt64, _ bytes: UInt64
    ) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            rebasing: buffers[buffer][Int(offset)..<Int(offset + bytes)])
    }

    /// Repeats the four bytes of `pattern`, low byte first; doubles what is there, for speed.
    private func fill(_ target: UnsafeMutableRawBufferPointer, _ pattern: UInt32) {
        let quad = withUnsafeBytes(of: pattern.littleEndian) { Array($0) }
        for index in 0..<min(4, target.count) { target[index] = quad[index] }
        var done = 4
        while done < target.count {
            let bytes = min(done, target.count - done)
            UnsafeMutableRawBufferPointer(rebasing: target[done..<(done + bytes)]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: target[0..<bytes]))
            done += bytes
        }
    }

    /// What of a buffer differs from `found`, its memory; nil if every byte is right.
    func difference(
        of buffer: Int, in found: UnsafeMutableRawBufferPointer
    ) -> Difference? {
        let expected = buffers[buffer]
        if found.count == expected.count, let a = found.baseAddress,
            let b = expected.baseAddress, memcmp(a, b, expected.count) == 0
        {
            return nil
        }
        var difference: Difference?
        for index in 0..<min(found.count, expected.count) {
            let (wrong, right) = (found[index], expected[index])
            guard wrong != right else { continue }
            if difference == nil {
                difference = Difference(
                    offset: UInt64(index), expected: right, found: wrong, count: 0)
            }
            difference?.count += 1
        }
        // Only the sizes differ.
        return difference
            ?? Difference(
                offset: UInt64(min(found.count, expected.count)), expected: 0, found: 0, count: 0)
    }
}
