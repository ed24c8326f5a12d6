/// What the clients of `demo --pressure` do, as data.
///
/// Each client has several VMs, each with buffers of ``workingSet`` bytes together: an EXEC makes
/// those of one VM resident, so one VM has to fit into VRAM and all of them do not.
struct PressureScenario: Equatable, Sendable {
    /// One operation of a job; buffers are named by their number in the VM.
    enum Operation: Equatable, Sendable {
        case fill(buffer: Int, offset: UInt64, bytes: UInt64, pattern: UInt32)
        case copy(
            from: Int, fromOffset: UInt64, to: Int, toOffset: UInt64, bytes: UInt64)
        /// From the buffer of random bytes in system memory that all VMs of a client map.
        case noise(fromOffset: UInt64, to: Int, toOffset: UInt64, bytes: UInt64)
        case store(buffer: Int, offset: UInt64, value: UInt64)
    }

    /// Determines sizes, operations and contents.
    var seed: UInt64 = 1
    /// Where in each VM the buffers begin; a multiple of 2 MiB.
    var base: UInt64 = 0x1_0000_0000
    /// Bytes of VRAM that the buffers may use.
    var capacity: UInt64
    /// Bytes of one VM's buffers, a multiple of the page size.
    var workingSet: UInt64 = Self.defaultWorkingSet
    /// No new round begins after this time, ns.
    var duration: UInt64 = 5_000_000_000
    /// The most rounds; in one round a client uses each of its VMs once.
    var maxRounds = Int.max

    static let clients = 3
    static let defaultWorkingSet: UInt64 = 22 << 20
    /// How many times the buffers exceed VRAM, at least.
    static let overcommit: UInt64 = 4
    /// Rounds that are done whatever the time: a buffer is evicted, and brought back.
    static let minRounds = 2
    /// The size of the buffer of random bytes.
    static let noiseBytes: UInt64 = 1 << 20
    /// How many buffers of a VM are local to it; the others are objects of their own.
    static let localBuffers = 2

    private static let pageBytes: UInt64 = 4096
    private static let alignment: UInt64 = 2 << 20
    private static let minPiece: UInt64 = 64 << 10
    /// How a VM's bytes are divided.
    private static let parts: [UInt64] = [8, 5, 4, 3, 2]

    /// The smallest working set that can be divided.
    static let minWorkingSet: UInt64 = 4 << 20

    /// Room for the command stream of a VM's first job, which has the most operations: a copy is 28
    /// bytes and moves at least ``minPiece``, but for the last one of a buffer.
    var commandBytes: UInt64 {
        let operations = workingSet / Self.minPiece + UInt64(Self.parts.count) + 16
        return (operations * 32 + Self.pageBytes - 1) / Self.pageBytes * Self.pageBytes
    }

    /// VMs of one client.
    var vmsPerClient: Int {
        let all = Self.overcommit * capacity
        let each = UInt64(Self.clients) * workingSet
        return Int(max(1, (all + each - 1) / each))
    }

    /// Bytes of all buffers of all clients.
    var totalBytes: UInt64 { UInt64(Self.clients * vmsPerClient) * workingSet }

    /// Bytes of the buffers of a VM: no powers of two, so that memory is cut up.
    func bufferSizes(client: Int, vm: Int) -> [UInt64] {
        var random = SeededRandom(seed: seed ^ UInt64(client << 32 | vm << 16 | 1))
        let pages = workingSet / Self.pageBytes
        let whole = Self.parts.reduce(0, +)
        var sizes = Self.parts.map { pages * $0 / whole }
        sizes[0] += pages - sizes.reduce(0, +)
        for index in sizes.indices.dropFirst() {
            let moved = random.below(sizes[index] / 4)
            sizes[index] -= moved
            sizes[index - 1] += moved
        }
        return sizes.map { $0 * Self.pageBytes }
    }

    /// Where the buffers of these sizes begin, then the random bytes, then the commands.
    func addresses(_ sizes: [UInt64]) -> [UInt64] {
        var next = base
        return (sizes + [Self.noiseBytes, commandBytes]).map { bytes in
            defer { next += (bytes + Self.alignment - 1) / Self.alignment * Self.alignment }
            return next
        }
    }

    /// How much address space a VM takes.
    var span: UInt64 {
        workingSet + commandBytes + UInt64(Self.parts.count + 2) * 2 * Self.alignment
    }

    /// The job of a VM in a round. The first writes every byte of every buffer.
    func operations(client: Int, vm: Int, round: Int, sizes: [UInt64]) -> [Operation] {
        var random = SeededRandom(
            seed: seed ^ UInt64(client << 32 | vm << 16) ^ UInt64(round + 1) << 40)
        if round == 0 {
            return sizes.indices.flatMap { Self.wholeBuffer($0, sizes[$0], &random) }
        }
        return (0..<(4 + random.below(5))).map { _ in Self.operation(sizes, &random) }
    }

    private static func wholeBuffer(
        _ buffer: Int, _ size: UInt64, _ random: inout SeededRandom
    ) -> [Operation] {
        var operations: [Operation] = []
        var offset: UInt64 = 0
        while offset < size {
            let bytes = min(size - offset, minPiece + random.below(noiseBytes / 2))
            if random.below(4) == 0 {
                operations.append(
                    .fill(
                        buffer: buffer, offset: offset, bytes: bytes,
                        pattern: UInt32(truncatingIfNeeded: random.next())))
            } else {
                operations.append(
                    .noise(
                        fromOffset: random.below(noiseBytes - bytes + 1), to: buffer,
                        toOffset: offset, bytes: bytes))
            }
            offset += bytes
        }
        return operations
    }

    private static func operation(
        _ sizes: [UInt64], _ random: inout SeededRandom
    ) -> Operation {
        let buffer = Int(random.below(UInt64(sizes.count)))
        let size = sizes[buffer]
        switch random.below(8) {
        case 0:
            return .store(
                buffer: buffer, offset: random.below(size / 8) * 8, value: random.next())
        case 1, 2:
            let (offset, bytes) = part(of: size, &random)
            return .fill(
                buffer: buffer, offset: offset, bytes: bytes,
                pattern: UInt32(truncatingIfNeeded: random.next()))
        case 3, 4:
            let (offset, bytes) = part(of: min(size, noiseBytes), &random)
            return .noise(
                fromOffset: random.below(noiseBytes - bytes + 1), to: buffer,
                toOffset: random.below(2) == 0 ? offset : size - bytes, bytes: bytes)
        default:
            // To another buffer, so that source and destination never overlap.
            let other = (buffer + 1 + Int(random.below(UInt64(sizes.count - 1)))) % sizes.count
            let (offset, bytes) = part(of: min(size, sizes[other]), &random)
            return .copy(
                from: buffer, fromOffset: offset, to: other,
                toOffset: random.below(sizes[other] - bytes + 1), bytes: bytes)
        }
    }

    /// A part of `size` bytes at any byte.
    private static func part(
        of size: UInt64, _ random: inout SeededRandom
    ) -> (offset: UInt64, bytes: UInt64) {
        let bytes = 1 + random.below(size)
        return (random.below(size - bytes + 1), bytes)
    }
}
