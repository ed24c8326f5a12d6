import Engines

/// Push buffers of NVIDIA's engine.
enum PushTarget {
    private static let bench: EngineBench = {
        do {
            return try EngineBench()
        } catch {
            fuzzFailure("no engine: \(error)")
        }
    }()

    static func run(_ bytes: UnsafeRawBufferPointer) {
        var input = FuzzInput(bytes)
        let bench = bench
        let setup = input.byte()
        let classes: NVIDIAClasses = setup & 1 == 0 ? .tu104 : .ad104
        let policy = HazardPolicy.allCases[Int(setup >> 1) % HazardPolicy.allCases.count]
        let hasBarriers = setup & 0x80 == 0
        var grammar = PushGrammar(
            classes: classes, data: EngineBench.data, dataBytes: EngineBench.dataPages * 4096)
        let first = grammar.dwords(&input, limit: 3000)
        let halves = setup & 0x40 == 0 ? first.count : first.count / 2
        let pushes = [
            NVIDIAPush(address: EngineBench.code, bytes: UInt64(halves) * 4),
            NVIDIAPush(
                address: EngineBench.code + UInt64(halves) * 4,
                bytes: UInt64(first.count - halves) * 4),
        ]
        EngineRun.check(bench) { quantum, limit in
            bench.reset(first)
            let engine = NVIDIAEngine(name: "nv0", mmu: bench.mmu, hazards: policy)
            let channel = NVIDIAChannel(classes: classes, hasBarriers: hasBarriers)
            let context = NVIDIAContext(
                engine: engine, channel: channel, space: bench.space, pushes: pushes)
            let outcome = EngineRun.outcome(of: context, quantum, limit: limit)
            return EngineRun(outcome: outcome, data: bench.data())
        }
    }
}
