import ArgumentParser

/// The options of `demo --pressure`.
struct PressureOptions: ParsableArguments {
    @Flag(name: .long, help: "Over-commit VRAM four times with three clients.")
    var pressure = false

    @Option(
        name: .long, help: "VRAM of the private daemon: 16MiB to 1GiB, a multiple of 2MiB.")
    var vram: ByteCount?

    @Option(
        name: .long,
        help: "Bytes of the buffers of one VM, which an EXEC has to make resident together.")
    var workingSet: ByteCount?

    @Option(name: .long, help: "No client begins another round after so many seconds: 1 to 60.")
    var seconds: UInt64?

    @Option(name: .long, help: "The most rounds: in one a client uses each of its VMs once.")
    var rounds: Int?

    /// VRAM of the private daemon if nothing is said.
    static let defaultVRAM: UInt64 = 64 << 20
    /// Four times this in buffers, and again in models, is what a small machine has.
    static let maxVRAM: UInt64 = 1 << 30

    /// The scenario on VRAM of `capacity` bytes.
    func scenario(_ demo: DemoOptions, capacity: UInt64) -> PressureScenario {
        var scenario = PressureScenario(capacity: capacity)
        scenario.seed = demo.seed
        scenario.base = demo.baseAddress.value
        if let workingSet { scenario.workingSet = workingSet.value }
        if let seconds { scenario.duration = seconds * 1_000_000_000 }
        if let rounds { scenario.maxRounds = rounds }
        return scenario
    }

    /// Checks what one option alone cannot.
    func check(_ demo: DemoOptions, hasSocket: Bool) throws {
        guard pressure else {
            guard vram == nil, workingSet == nil, seconds == nil, rounds == nil else {
                throw ValidationError(
                    "--vram, --working-set, --seconds and --rounds belong to --pressure")
            }
            return
        }
        if let vram {
            guard !hasSocket else {
                throw ValidationError(
                    "--vram: the daemon at --socket has its VRAM already; leave one of them out")
            }
            guard (16 << 20...Self.maxVRAM).contains(vram.value), vram.value % (2 << 20) == 0
            else {
                throw ValidationError(
                    "--vram \(size(vram.value)): it has to be 16 MiB to 1 GiB, by 2 MiB")
            }
        }
        if let bytes = workingSet?.value {
            let range = PressureScenario.minWorkingSet...Self.maxVRAM
            guard range.contains(bytes), bytes % 4096 == 0 else {
                throw ValidationError(
                    "--working-set \(size(bytes)): it has to be 4 MiB to 1 GiB, by 4 KiB")
            }
        }
        if let seconds, !(1...60).contains(seconds) {
            throw ValidationError("--seconds \(seconds): it has to be 1 to 60")
        }
        if let rounds, rounds < PressureScenario.minRounds {
            throw ValidationError(
                "--rounds \(rounds): less than \(PressureScenario.minRounds) prove nothing")
        }
        let scenario = scenario(demo, capacity: vram?.value ?? Self.defaultVRAM)
        let (end, overflow) = scenario.base.addingReportingOverflow(scenario.span)
        guard !overflow, end <= 1 << 47 else {
            throw ValidationError(
                "--base-address \(hex(scenario.base)): no room for the buffers below \(hex(1 << 47))"
            )
        }
    }
}

/// A number of bytes on the command line.
struct ByteCount: ExpressibleByArgument, Equatable {
    var value: UInt64

    init(value: UInt64) {
        self.value = value
    }

    /// Decimal digits and one of the units of the configuration file, or none.
    init?(argument: String) {
        let units: [(String, UInt64)] = [
            ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0),
        ]
        let (name, shift) = units.first { argument.hasSuffix($0.0) } ?? ("", 0)
        guard let number = UInt64(argument.dropLast(name.count)) else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        guard !overflow else { return nil }
        value = bytes
    }

    var defaultValueDescription: String { size(value) }
}
