/// What the demo does, as data: change it and everything that is printed follows.
///
/// Addresses are relative to ``base``. The area that is split lies there; behind it, each at the
/// next multiple of 2 MiB, lie the destination of the copies and the control buffer.
struct DemoScenario: Equatable, Sendable {
    /// The two buffers whose mappings cut each other up.
    enum Buffer: String, Sendable {
        case a = "demo-a"
        case b = "demo-b"
    }

    /// One operation of a bind; offsets and sizes in bytes.
    enum Bind: Equatable, Sendable {
        case map(Buffer, at: UInt64, bytes: UInt64, offset: UInt64)
        case mapNull(at: UInt64, bytes: UInt64)
        case unmap(at: UInt64, bytes: UInt64)
    }

    /// A synchronous bind.
    struct Step: Equatable, Sendable {
        var title: String
        var binds: [Bind]
    }

    /// An offset in the split area or in the destination.
    enum Place: Equatable, Sendable {
        case area(UInt64)
        case out(UInt64)
    }

    /// One command of the copy job.
    enum Command: Equatable, Sendable {
        case fill(Place, bytes: UInt64, pattern: UInt32)
        case copy(from: Place, to: Place, bytes: UInt64)
        case copyPitched(
            from: Place, fromPitch: UInt32, to: Place, toPitch: UInt32, bytes: UInt32,
            lines: UInt32)
        case storeDword(Place, UInt32)
        case storeQword(Place, UInt64)
    }

    /// Where everything begins; a multiple of 2 MiB.
    var base: UInt64 = 0x1_0000_0000
    /// Determines the contents of the buffers.
    var seed: UInt64 = 1
    /// The size of the area, of demo-a and of the destination.
    var areaBytes: UInt64 = 2 << 20
    /// The size of demo-b.
    var bufferBBytes: UInt64 = 1 << 20
    /// The splits, one bind after the other.
    var steps: [Step]
    /// The copy job.
    var commands: [Command]
    /// An address of the area whose page-table walk is shown.
    var walk: UInt64
    /// An address of the area that nothing maps at the end.
    var fault: UInt64

    /// The granularity of the destination's and the control buffer's addresses.
    static let alignment: UInt64 = 2 << 20
    /// The size of the control buffer: command streams in its first half, then semaphores.
    static let controlBytes: UInt64 = 64 << 10

    /// The destination's offset from the base.
    var outOffset: UInt64 { Self.roundUp(areaBytes) }
    /// The control buffer's offset from the base.
    var controlOffset: UInt64 { outOffset + Self.roundUp(areaBytes) }
    /// How much address space everything takes together.
    var span: UInt64 { controlOffset + Self.controlBytes }

    private static func roundUp(_ bytes: UInt64) -> UInt64 {
        (bytes + alignment - 1) / alignment * alignment
    }

    /// The scenario of `gpuvmctl demo`.
    static func standard(base: UInt64? = nil, seed: UInt64? = nil) -> DemoScenario {
        let k: UInt64 = 1 << 10
        var scenario = DemoScenario(
            steps: [
                Step(
                    title: "demo-b over the middle of demo-a",
                    binds: [.map(.b, at: 512 * k, bytes: 256 * k, offset: 0)]),
                Step(
                    title: "demo-a over its own beginning, contents unchanged",
                    binds: [.map(.a, at: 0, bytes: 128 * k, offset: 0)]),
                Step(
                    title: "demo-b across the end of its mapping and the start of the next",
                    binds: [.map(.b, at: 704 * k, bytes: 128 * k, offset: 512 * k)]),
                Step(
                    title: "a sparse hole in the last mapping of demo-a",
                    binds: [.mapNull(at: 1024 * k, bytes: 256 * k)]),
                Step(
                    title: "unmap the end of the area, and map a mapping onto itself",
                    binds: [
                        .unmap(at: 1920 * k, bytes: 128 * k),
                        .map(.b, at: 512 * k, bytes: 192 * k, offset: 0),
                    ]),
            ],
            commands: [
                .fill(.out(0), bytes: 2048 * k, pattern: 0xdead_beef),
                .fill(.area(1024 * k), bytes: 256 * k, pattern: 0x5a5a_5a5a),
                .copy(from: .area(0), to: .out(0), bytes: 1920 * k),
                .fill(.area(640 * k + 1), bytes: 8191, pattern: 0x0403_0201),
                .copyPitched(
                    from: .area(500 * k + 3), fromPitch: 4096, to: .out(1930 * k),
                    toPitch: 1024, bytes: 1000, lines: 96),
                .storeDword(.area(64 * k + 4), 0xc0ff_ee00),
                .storeQword(.area(768 * k + 8), 0x0123_4567_89ab_cdef),
            ],
            walk: 700 * k, fault: 1984 * k)
        if let base { scenario.base = base }
        if let seed { scenario.seed = seed }
        return scenario
    }
}
