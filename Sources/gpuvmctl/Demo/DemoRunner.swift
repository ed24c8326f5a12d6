import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import SystemPackage
import WireProtocol

/// Carries the scenario out on a connection and collects what the daemon says.
///
/// Threading: one thread.
struct DemoRunner {
    private let connection: Connection
    private let scenario: DemoScenario
    private var model: DemoModel
    /// What the model still has to follow: it is slow, and nothing should wait for it.
    private var history: [Action] = []
    private(set) var report = DemoReport()

    private let vm: VM
    private let timeline: GPUVMClient.Syncobj
    private let a, b, out, control: BufferObject
    private var vmID: UInt32 = 0

    private enum Action {
        case bind(DemoScenario.Bind)
        case command(DemoScenario.Command)
    }

    /// How long any one wait may take, ns.
    private static let patience: UInt64 = 10_000_000_000

    // The points of the timeline, in the order in which they signal.
    private enum Point {
        static let go: UInt64 = 1
        static let bound: UInt64 = 2
        static let firstCopy: UInt64 = 3
        static let copies: UInt64 = 4
        static let fault: UInt64 = 5
        static let last: UInt64 = 6
    }

    // Offsets in the control buffer.
    private enum Control {
        // Command streams, one page each.
        static let gateBatch: UInt64 = 0x0
        static let firstBatch: UInt64 = 0x1000
        static let copyBatch: UInt64 = 0x2000
        static let releaseBatch: UInt64 = 0x3000
        static let faultBatch: UInt64 = 0x4000
        static let lastBatch: UInt64 = 0x5000
        // Qwords behind them.
        static let gate: UInt64 = 0x8000
        static let semaphore: UInt64 = 0x8008
        static let started: UInt64 = 0x8010
        static let finished: UInt64 = 0x8018
    }

    /// Creates the VM, the buffers and the timeline, and fills the buffers.
    init(_ connection: Connection, _ scenario: DemoScenario) throws(ClientError) {
        self.connection = connection
        self.scenario = scenario
        model = DemoModel(scenario)
        let server = connection.server
        report.server = .init(
            name: server.name, clientID: server.clientID, pageBytes: server.pageBytes,
            copyEngines: server.copyEngines)
        vm = try connection.makeVM(
            range: 1 << UInt64(min(server.vaBits, 63)), reserved: (0, 64 << 10), name: "demo")
        timeline = try connection.makeSyncobj()
        a = try connection.makeBuffer(
            size: scenario.areaBytes, placement: .vram, name: DemoScenario.Buffer.a.rawValue)
        b = try connection.makeBuffer(
            size: scenario.bufferBBytes, placement: .system, name: DemoScenario.Buffer.b.rawValue)
        out = try connection.makeBuffer(
            size: scenario.areaBytes, placement: .vram, name: "demo-out")
        control = try connection.makeBuffer(
            size: DemoScenario.controlBytes, placement: .system, name: "demo-control")
        for buffer in [a, b, out, control] {
            report.buffers.append(.init(handle: buffer.handle, info: try buffer.info()))
        }
        try a.map().copyBytes(from: model.a)
        try b.map().copyBytes(from: model.b)
        try refreshVM()
    }

    /// Everything after the set-up.
    mutating func run() throws(ClientError) {
        let copyQueue = try vm.makeQueue(.copy)
        try bindBehindTimeline(copyQueue)
        for step in scenario.steps { try split(step) }
        try runCopies(copyQueue)
        try provokeFault(copyQueue)
        try verify()
        try refreshVM()
        report.mappings = try connection.mappings(ofVM: vmID)
        report.walkAddress = scenario.base + scenario.walk
        report.walk = try connection.walk(vm: vmID, address: report.walkAddress)
        for index in report.jobs.indices {
            report.jobs[index].info = try connection.fenceInfo(report.jobs[index].fence)
        }
    }

    private mutating func refreshVM() throws(ClientError) {
        let mine = connection.server.clientID
        let record = try connection.vms().first {
            $0.client_id == mine && $0.handle == vm.handle
        }
        guard let record else {
            throw ClientError(.noSuchFileOrDirectory, .vmList, "the demo's VM is not listed")
        }
        vmID = record.id
        report.vm = record
    }

    // MARK: The asynchronous bind

    /// Binds behind a point that only the host lets signal: its fence is that of a job which waits
    /// for a semaphore in the control buffer. A submission's in-fences must have been submitted, as
    /// in the kernel, so a bare point of the host's would be refused.
    private mutating func bindBehindTimeline(_ queue: Queue) throws(ClientError) {
        let base = scenario.base
        try bindControl()
        var hold = CommandWriter()
        hold.waitSemaphore(at: controlAddress + Control.gate, .equal, value: 1)
        hold.end()
        let gateQueue = try vm.makeQueue(.copy)
        let gate = try gateQueue.exec(
            [try place(hold, Control.gateBatch)], signals: [timeline.point(Point.go)])
        addJob("gate: semaphore wait", gate)

        let bind = try vm.bindAsync(
            [
                .map(a, at: base, range: scenario.areaBytes),
                .map(out, at: base + scenario.outOffset, range: scenario.areaBytes),
            ],
            waits: [timeline.point(Point.go)], signals: [timeline.point(Point.bound)],
            returningOperations: true)
        report.binds.append(
            .init(
                title: "demo-a and demo-out behind timeline point \(Point.go)", fence: bind.fence,
                operations: bind.operations))
        var commands = CommandWriter()
        let whole = DemoScenario.Command.copy(
            from: .area(0), to: .out(0), bytes: scenario.areaBytes)
        encode(whole, &commands)
        commands.end()
        let batch = try place(commands, Control.firstBatch)
        let copy = try queue.exec(
            [batch], waits: [timeline.point(Point.bound)],
            signals: [timeline.point(Point.firstCopy)])
        addJob("bind, asynchronous", bind.fence)
        addJob("first copy", copy)

        let before = try look(bind.fence)
        report.pending = .init(
            fence: bind.fence, point: Point.go, walkAddress: base, before: before)
        expect(before.value == 0, "the timeline stands at \(before.value) before its first point")
        expect(before.fence.signaled == 0, "the bind's fence has signalled before its wait")
        expect(
            before.walk.result == GPUVM_WALK_FAULT.rawValue,
            "the page tables map \(hex(base)) before the bind's wait is over")
        expect(!before.copied, "the copy has written before its wait is over")

        try control.map().storeBytes(of: 1, toByteOffset: Int(Control.gate), as: UInt64.self)
        try wait(Point.firstCopy)
        try gateQueue.close()
        history.append(.command(whole))
        let after = try look(bind.fence)
        report.pending?.after = after
        expect(after.value == Point.firstCopy, "the timeline stands at \(after.value)")
        expect(after.fence.signaled != 0, "the bind's fence has not signalled")
        expect(
            after.walk.result == GPUVM_WALK_MEMORY.rawValue, "the page tables do not map the bind")
        expect(after.copied, "the copy has written nothing")
    }

    private mutating func bindControl() throws(ClientError) {
        let result = try vm.bind(
            [.map(control, at: controlAddress, range: DemoScenario.controlBytes)],
            returningOperations: true)
        report.binds.append(
            .init(
                title: "the control buffer", fence: result.fence, operations: result.operations))
    }

    private func look(_ fence: FenceID) throws(ClientError) -> DemoReport.Pending.State {
        DemoReport.Pending.State(
            value: try timeline.query(), fence: try connection.fenceInfo(fence),
            walk: try connection.walk(vm: vmID, address: scenario.base),
            copied: try out.map().contains { $0 != 0 })
    }

    // MARK: The splits

    private mutating func split(_ step: DemoScenario.Step) throws(ClientError) {
        let base = scenario.base
        let operations = step.binds.map { bind in
            switch bind {
            case .map(let buffer, let at, let bytes, let offset):
                BindOperation.map(
                    buffer == .a ? a : b, at: base + at, range: bytes, offset: offset)
            case .mapNull(let at, let bytes): BindOperation.mapNull(at: base + at, range: bytes)
            case .unmap(let at, let bytes): BindOperation.unmap(at: base + at, range: bytes)
            }
        }
        let result = try vm.bind(operations, returningOperations: true)
        history += step.binds.map { .bind($0) }
        report.binds.append(
            .init(title: step.title, fence: result.fence, operations: result.operations))
    }

    // MARK: The jobs

    private mutating func runCopies(_ queue: Queue) throws(ClientError) {
        let semaphore = controlAddress + Control.semaphore
        var commands = CommandWriter()
        commands.waitSemaphore(at: semaphore, .equal, value: 1)
        commands.timestamp(at: controlAddress + Control.started)
        for command in scenario.commands { encode(command, &commands) }
        commands.timestamp(at: controlAddress + Control.finished)
        commands.end()
        let copies = try queue.exec(
            [try place(commands, Control.copyBatch)], signals: [timeline.point(Point.copies)])

        // The first job waits inside of the engine until this one, on a queue of its own, runs.
        var release = CommandWriter()
        release.releaseSemaphore(at: semaphore, value: 1)
        release.end()
        let releaseQueue = try vm.makeQueue(.copy)
        let released = try releaseQueue.exec([try place(release, Control.releaseBatch)])
        addJob("copies through the splits", copies)
        addJob("semaphore release", released)
        try wait(Point.copies)
        history += scenario.commands.map { .command($0) }
        let started = try read(Control.started)
        let finished = try read(Control.finished)
        expect(started > 0 && finished >= started, "the engine's timestamps run backwards")
        report.engineNanoseconds = finished &- started
        try releaseQueue.close()
    }

    private mutating func provokeFault(_ otherQueue: Queue) throws(ClientError) {
        let queue = try vm.makeQueue(.copy)
        let address = scenario.base + scenario.fault
        var commands = CommandWriter()
        commands.store(address, dword: 1)
        commands.end()
        let batch = try place(commands, Control.faultBatch)
        let job = try queue.exec([batch], signals: [timeline.point(Point.fault)])
        addJob("store to an unmapped page", job)
        try wait(Point.fault)
        report.faultQueue = try queue.info()
        expect((report.faultQueue?.banned ?? 0) != 0, "the queue that faulted is not banned")
        let mine = connection.server.clientID
        report.fault = try connection.faults().last { $0.client_id == mine }
        expect(
            report.fault?.address == address, "the fault at \(hex(address)) is not reported")
        do throws(ClientError) {
            _ = try queue.exec([batch])
            report.problems.append("a banned queue took another job")
        } catch {
            report.refusal = "\(error)"
        }

        // The queues beside it go on.
        var last = CommandWriter()
        let fill = DemoScenario.Command.storeDword(.out(0), 0x600d_600d)
        encode(fill, &last)
        last.end()
        let survivor = try otherQueue.exec(
            [try place(last, Control.lastBatch)], signals: [timeline.point(Point.last)])
        addJob("store on the first queue", survivor)
        try wait(Point.last)
        history.append(.command(fill))
    }

    /// Writes a command stream into the control buffer.
    private func place(
        _ commands: CommandWriter, _ offset: UInt64
    ) throws(ClientError) -> Queue.Batch {
        let memory = try control.map()
        commands.dwords.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(rebasing: memory[Int(offset)...]).copyMemory(from: $0)
        }
        return Queue.Batch(
            address: controlAddress + offset, bytes: commands.byteCount)
    }

    private func encode(_ command: DemoScenario.Command, _ writer: inout CommandWriter) {
        switch command {
        case .fill(let at, let bytes, let pattern):
            writer.fill(address(at), bytes: bytes, pattern: pattern)
        case .copy(let source, let destination, let bytes):
            writer.copy(from: address(source), to: address(destination), bytes: bytes)
        case .copyPitched(
            let source, let sourcePitch, let destination, let pitch, let bytes, let lines):
            writer.copyPitched(
                from: address(source), sourcePitch: sourcePitch, to: address(destination),
                destinationPitch: pitch, lineBytes: bytes, lines: lines)
        case .storeDword(let at, let value): writer.store(address(at), dword: value)
        case .storeQword(let at, let value): writer.store(address(at), qword: value)
        }
    }

    private var controlAddress: UInt64 { scenario.base + scenario.controlOffset }

    private func address(_ place: DemoScenario.Place) -> UInt64 {
        switch place {
        case .area(let offset): scenario.base + offset
        case .out(let offset): scenario.base + scenario.outOffset + offset
        }
    }

    private func read(_ offset: UInt64) throws(ClientError) -> UInt64 {
        try control.map().load(fromByteOffset: Int(offset), as: UInt64.self)
    }

    private mutating func wait(_ point: UInt64) throws(ClientError) {
        _ = try connection.wait(
            for: [timeline.point(point)], flags: [.all, .forSubmit],
            deadline: Runtime.deadline(after: Self.patience))
    }

    // MARK: The check

    private mutating func verify() throws(ClientError) {
        for action in history {
            switch action {
            case .bind(let bind): model.apply(bind)
            case .command(let command): model.apply(command)
            }
        }
        let pairs: [(BufferObject, [UInt8])] = [(a, model.a), (b, model.b), (out, model.out)]
        for (buffer, expected) in pairs {
            let found = try buffer.map()
            report.verifiedBytes += UInt64(expected.count)
            let isEqual = expected.withUnsafeBytes { expected in
                guard let a = found.baseAddress, let b = expected.baseAddress else { return false }
                return found.count == expected.count && memcmp(a, b, expected.count) == 0
            }
            if isEqual { continue }
            var first: Int?
            var count: UInt64 = 0
            for index in expected.indices where found[index] != expected[index] {
                if first == nil { first = index }
                count += 1
            }
            if let first {
                report.mismatches.append(
                    .init(
                        buffer: report.name(of: buffer.handle), offset: UInt64(first),
                        expected: expected[first], found: found[first], count: count))
            }
        }
    }

    private mutating func addJob(_ title: String, _ fence: FenceID) {
        report.jobs.append(.init(title: title, fence: fence, info: gpuvm_fence_info_reply()))
    }

    private mutating func expect(_ condition: Bool, _ otherwise: @autoclosure () -> String) {
        if !condition { report.problems.append(otherwise()) }
    }
}
