import CWireProtocol
import GPUVMClient
import Testing
import WireProtocol

@testable import gpuvmctl

/// What the clients of `demo --pressure` do and know, without a daemon.
@Suite struct PressureTests {
    private let mib: UInt64 = 1 << 20

    // MARK: The scenario

    @Test(arguments: [UInt64(1), 2, 0xdead_beef])
    func fourTimesTheMemoryInParts(seed: UInt64) {
        var scenario = PressureScenario(capacity: 64 * mib)
        scenario.seed = seed
        // 256 MiB in VMs of 22 MiB for three clients: 3.9 each, so 4.
        #expect(scenario.vmsPerClient == 4)
        #expect(scenario.totalBytes == 264 * mib)
        for client in 0..<3 {
            for vm in 0..<4 {
                let sizes = scenario.bufferSizes(client: client, vm: vm)
                #expect(sizes.reduce(0, +) == 22 * mib && sizes.count == 5)
                #expect(sizes.allSatisfy { $0 % 4096 == 0 && $0 >= mib })
            }
        }
        #expect(
            scenario.bufferSizes(client: 0, vm: 0) != scenario.bufferSizes(client: 1, vm: 0))
    }

    @Test(arguments: [
        (16, 22, 1), (32, 22, 2), (64, 22, 4), (64, 64, 2), (1024, 22, 63), (64, 100, 1),
        (64, 4, 22),
    ])
    func theNumberOfVMsFollowsTheMemory(vram: UInt64, workingSet: UInt64, vms: Int) {
        var scenario = PressureScenario(capacity: vram * mib)
        scenario.workingSet = workingSet * mib
        #expect(scenario.vmsPerClient == vms)
        #expect(scenario.totalBytes >= 4 * vram * mib)
    }

    /// Whatever the seed, no operation leaves its buffers, and the first job writes every byte.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func operationsStayInTheirBuffers(seed: UInt64) {
        var scenario = PressureScenario(capacity: 16 * mib)
        scenario.seed = seed
        scenario.workingSet = 4 * mib + seed * 4096
        let sizes = scenario.bufferSizes(client: 1, vm: 0)
        var written = sizes.map { _ in UInt64(0) }
        for round in 0..<30 {
            let operations = scenario.operations(
                client: 1, vm: 0, round: round, sizes: sizes)
            // A command is at most 28 bytes, and the stream ends with one more.
            #expect(UInt64(operations.count) * 28 + 4 <= scenario.commandBytes)
            for operation in operations {
                switch operation {
                case .fill(let buffer, let offset, let bytes, _):
                    #expect(bytes > 0 && offset + bytes <= sizes[buffer], "seed \(seed)")
                    if round == 0 { written[buffer] += bytes }
                case .copy(let source, let from, let target, let to, let bytes):
                    #expect(source != target && bytes > 0, "seed \(seed)")
                    #expect(from + bytes <= sizes[source] && to + bytes <= sizes[target])
                case .noise(let from, let target, let to, let bytes):
                    #expect(bytes > 0 && from + bytes <= PressureScenario.noiseBytes)
                    #expect(to + bytes <= sizes[target], "seed \(seed)")
                    if round == 0 { written[target] += bytes }
                case .store(let buffer, let offset, _):
                    #expect(offset % 8 == 0 && offset + 8 <= sizes[buffer], "seed \(seed)")
                }
            }
        }
        #expect(written == sizes)
        #expect(
            scenario.operations(client: 1, vm: 0, round: 7, sizes: sizes)
                == scenario.operations(client: 1, vm: 0, round: 7, sizes: sizes))
        #expect(
            scenario.operations(client: 1, vm: 0, round: 7, sizes: sizes)
                != scenario.operations(client: 1, vm: 0, round: 8, sizes: sizes))
    }

    @Test func addressesAreApart() {
        let scenario = PressureScenario(capacity: 64 * mib)
        let sizes = scenario.bufferSizes(client: 2, vm: 3)
        let addresses = scenario.addresses(sizes)
        #expect(addresses.count == 7 && addresses[0] == scenario.base)
        let all = sizes + [PressureScenario.noiseBytes, scenario.commandBytes]
        for index in 1..<7 {
            #expect(addresses[index] % (2 << 20) == 0)
            #expect(addresses[index] >= addresses[index - 1] + all[index - 1])
        }
        #expect(addresses[6] + all[6] <= scenario.base + scenario.span)
    }

    // MARK: The model

    /// Every expected byte is worked out by hand.
    @Test func modelFollowsTheOperations() {
        let model = PressureModel(sizes: [16, 8], noise: [10, 11, 12, 13, 14, 15, 16, 17])
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 8)
        defer { memory.deallocate() }
        func expectBytes(_ buffer: Int, _ bytes: [UInt8]) {
            memory.copyBytes(from: bytes)
            let found = UnsafeMutableRawBufferPointer(rebasing: memory[0..<bytes.count])
            #expect(model.difference(of: buffer, in: found) == nil)
        }
        model.apply(.fill(buffer: 0, offset: 1, bytes: 7, pattern: 0x0403_0201))
        expectBytes(0, [0, 1, 2, 3, 4, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0])
        model.apply(.fill(buffer: 1, offset: 6, bytes: 2, pattern: 0x0403_0201))
        expectBytes(1, [0, 0, 0, 0, 0, 0, 1, 2])
        model.apply(.noise(fromOffset: 3, to: 1, toOffset: 0, bytes: 5))
        expectBytes(1, [13, 14, 15, 16, 17, 0, 1, 2])
        model.apply(.copy(from: 1, fromOffset: 4, to: 0, toOffset: 9, bytes: 4))
        expectBytes(0, [0, 1, 2, 3, 4, 1, 2, 3, 0, 17, 0, 1, 2, 0, 0, 0])
        model.apply(.store(buffer: 0, offset: 8, value: 0x0807_0605_0403_0201))
        expectBytes(0, [0, 1, 2, 3, 4, 1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8])
    }

    @Test func modelFindsTheFirstWrongByte() {
        let model = PressureModel(sizes: [8], noise: [])
        model.apply(.fill(buffer: 0, offset: 0, bytes: 8, pattern: 0x0707_0707))
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
        defer { memory.deallocate() }
        memory.copyBytes(from: [7, 7, 7, 9, 7, 8, 7, 7])
        #expect(
            model.difference(of: 0, in: memory)
                == .init(offset: 3, expected: 7, found: 9, count: 2))
        let short = UnsafeMutableRawBufferPointer(rebasing: memory[0..<3])
        #expect(model.difference(of: 0, in: short)?.offset == 3)
    }

    @Test func noiseFollowsItsSeed() {
        let noise = PressureModel.noise(seed: 5, bytes: 4096)
        #expect(noise.count == 4096)
        #expect(noise == PressureModel.noise(seed: 5, bytes: 4096))
        #expect(noise != PressureModel.noise(seed: 6, bytes: 4096))
        // Two aligned pieces that are equal would hide a page in the wrong place.
        let pieces = stride(from: 0, to: 4096, by: 64).map { Array(noise[$0..<($0 + 64)]) }
        #expect(Set(pieces).count == 64)
    }

    // MARK: The messages

    @Test func messagesSurviveTheirText() throws {
        let messages: [PressureMessage] = [
            .go, .verify, .connected(client: 7), .ready(vms: 4, buffers: 20, bytes: .max),
            .progress(rounds: 12, jobs: 99), .finished,
            .mismatch(
                buffer: "vm-1.2-0", .init(offset: 5, expected: 255, found: 0, count: 3)),
            .mismatch(buffer: "a b  c", .init(offset: 5, expected: 1, found: 2, count: 3)),
            .problem(errno: 28, "EXEC: no room [ENOSPC]"), .problem(errno: 5, ""),
            .verified(bytes: 1 << 40),
        ]
        for message in messages { #expect(PressureMessage(message.text) == message) }
        for text in ["", "gone", "ready 1 2", "problem x y", "verified -1", "mismatch 1 256 0 1 b"]
        {
            #expect(PressureMessage(text) == nil, "\(text)")
        }
        let (a, b) = try UnixSocket.pair()
        let sender = PressureChannel(a)
        let receiver = PressureChannel(b)
        for message in messages { try sender.send(message) }
        for message in messages { #expect(try receiver.receive() == message) }
        try sender.send(.problem(errno: 1, String(repeating: "x", count: 100_000)))
        guard case .problem(1, let text) = try receiver.receive() else {
            Issue.record("a long message was lost")
            return
        }
        #expect(text.count > 1000)
    }

    // MARK: The command line

    @Test func optionsBecomeAScenario() throws {
        let command = try DemoCommand.parse([
            "--pressure", "--seed", "9", "--vram", "32MiB", "--working-set", "8MiB",
            "--seconds", "2", "--rounds", "3", "--base-address", "0x40000000",
        ])
        let scenario = command.pressure.scenario(command.demo, capacity: 32 * mib)
        #expect(scenario.seed == 9 && scenario.base == 0x4000_0000)
        #expect(scenario.workingSet == 8 * mib && scenario.duration == 2_000_000_000)
        #expect(scenario.maxRounds == 3 && command.pressure.vram?.value == 32 * mib)
        let plain = try DemoCommand.parse(["--pressure"])
        #expect(
            plain.pressure.scenario(plain.demo, capacity: 64 * mib)
                == PressureScenario(capacity: 64 * mib))
    }

    @Test(arguments: [
        ["--vram", "64MiB"], ["--seconds", "3"], ["--rounds", "3"], ["--working-set", "8MiB"],
        ["--pressure", "--vram", "8MiB"], ["--pressure", "--vram", "17MiB"],
        ["--pressure", "--vram", "2GiB"], ["--pressure", "--vram", "many"],
        ["--pressure", "--vram", "64MiB", "--socket", "/tmp/x"],
        ["--pressure", "--working-set", "1MiB"], ["--pressure", "--working-set", "4097KiB"],
        ["--pressure", "--seconds", "0"], ["--pressure", "--seconds", "61"],
        ["--pressure", "--rounds", "1"], ["--pressure", "--base-address", "0x7fffffe00000"],
    ])
    func wrongOptionsAreUsageErrors(arguments: [String]) {
        #expect(throws: (any Error).self) { try DemoCommand.parse(arguments) }
    }

    @Test func sizesOnTheCommandLine() {
        #expect(ByteCount(argument: "64MiB")?.value == 64 * mib)
        #expect(ByteCount(argument: "4096")?.value == 4096)
        #expect(ByteCount(argument: "5B")?.value == 5)
        #expect(ByteCount(argument: "2TiB")?.value == 2 << 40)
        for text in ["", "MiB", "-1", "1.5GiB", "64MB", "99999999TiB", "0x10"] {
            #expect(ByteCount(argument: text) == nil, "\(text)")
        }
    }
}
