import Engines
import Fencing
import Glibc
import PageTables
import Scheduling
import Synchronization
import Testing
import WireProtocol

/// Command streams as jobs of a scheduler, as a device runs them.
@Suite struct EngineJobTests {
    /// The job body of a command stream.
    private final class CommandBody: JobBody {
        let context: CommandContext
        let quantum: EngineQuantum

        init(_ context: CommandContext, _ quantum: EngineQuantum = .init(commands: 64)) {
            self.context = context
            self.quantum = quantum
        }

        func run(_ slice: inout JobSlice) -> JobOutcome {
            let outcome = context.run(quantum) { slice.shouldStop }
            if context.wroteSemaphore {
                slice.noteSemaphoreWrite()
                context.clearSemaphoreWrites()
            }
            return switch outcome {
            case .done: .done
            case .yield: .yield
            case .blocked: .blocked(recheckAfter: 0)
            case .failed(let failure): .failed(errno: failure.errno)
            }
        }
    }

    private let code: UInt64 = 0x10000
    private let data: UInt64 = 0x20000

    private func machine() throws -> Machine {
        let machine = try Machine()
        try machine.map(code, frame: 0, pages: 4)
        try machine.map(data, frame: 4, pages: 4)
        return machine
    }

    @Test func anEndlessLoopTimesOutAndCanBeKilled() throws {
        let machine = try machine()
        machine.write([0x0003_0003, UInt32(code), 0], frame: 0)
        let scheduler = try EngineScheduler(name: "copy0")
        defer { scheduler.shutdown() }
        let timed = JobQueue(scheduler, name: "timed", jobTimeout: 10_000_000)
        let killed = JobQueue(scheduler, name: "killed")
        let first = try timed.submit(Job(body: CommandBody(machine.context(code))))
        // One quantum that would not end by itself.
        let endless = EngineQuantum(commands: .max)
        let second = try killed.submit(Job(body: CommandBody(machine.context(code), endless)))
        killed.kill()
        #expect(killed.waitUntilIdle(deadline: soon()))
        #expect(second.error == ECANCELED)
        #expect(first.wait(deadline: soon()))
        #expect(first.error == ETIME)
    }

    @Test func aFaultBansItsQueueOnly() throws {
        let machine = try machine()
        var writer = CommandWriter()
        writer.store(0x99_0000, dword: 1)
        machine.write(writer.dwords, frame: 0)
        machine.write([0x0001_0002], frame: 1)
        let scheduler = try EngineScheduler(name: "copy0")
        defer { scheduler.shutdown() }
        let bad = JobQueue(scheduler, name: "bad")
        let body = CommandBody(machine.context(code))
        let fence = try bad.submit(Job(body: body))
        #expect(fence.wait(deadline: soon()))
        #expect(fence.error == EIO)
        #expect(body.context.failure?.fault?.address == 0x99_0000)
        let good = try JobQueue(scheduler, name: "good").submit(
            Job(body: CommandBody(machine.context(code + 4096))))
        #expect(good.wait(deadline: soon()))
        #expect(good.error == 0)
    }

    @Test func queuesPassATokenThroughMemory() throws {
        // Two engines with an MMU each over one VM; 12 jobs that each wait for their number.
        let machine = try machine()
        let group = EngineGroup()
        let other = CommandEngine(name: "copy1", mmu: MMU(memory: machine.memory))
        let schedulers = try (0..<2).map { try EngineScheduler(name: "copy\($0)", group: group) }
        defer { for scheduler in schedulers { scheduler.shutdown() } }
        machine.host(frame: 4, offset: 64).storeBytes(of: 0xab, as: UInt8.self)
        var fences: [Fence] = []
        for turn in (0..<12 as Range<UInt64>).reversed() {
            var writer = CommandWriter()
            writer.waitSemaphore(at: data, .equal, value: turn)
            // The turn's byte, taken from what the turn before wrote.
            writer.copy(from: data + 64 + turn, to: data + 65 + turn, bytes: 1)
            writer.releaseSemaphore(at: data, value: turn + 1)
            writer.end()
            machine.write(writer.dwords, frame: 0, offset: turn * 256)
            let engine = turn % 2 == 0 ? machine.engine : other
            let context = CommandContext(
                engine: engine, space: machine.space,
                batches: [CommandBatch(address: code + turn * 256, bytes: writer.byteCount)])
            let queue = JobQueue(schedulers[Int(turn % 2)], name: "\(turn)")
            fences.append(try queue.submit(Job(body: CommandBody(context))))
        }
        for fence in fences {
            #expect(fence.wait(deadline: soon()))
            #expect(fence.error == 0)
        }
        #expect(
            machine.bytes(frame: 4, offset: 64, count: 14) == [UInt8](repeating: 0xab, count: 13)
                + [0])
    }

    @Test func afterAnInvalidationTheEngineIsOut() throws {
        let machine = try machine()
        // Fills the page for ever.
        var writer = CommandWriter()
        writer.fill(data, bytes: 4096, pattern: 0x0101_0101)
        writer.jump(to: code)
        machine.write(writer.dwords, frame: 0)
        let scheduler = try EngineScheduler(name: "copy0")
        defer { scheduler.shutdown() }
        for round in 0..<20 {
            try machine.map(data, frame: 4)
            let queue = JobQueue(scheduler, name: "\(round)")
            let body = CommandBody(machine.context(code))
            let fence = try queue.submit(Job(body: body))
            let deadline = soon()
            while queue.status.busyNanoseconds == 0, Runtime.now() < deadline {}
            machine.unmap(data)
            // The frame is another owner's now: nobody else may write it.
            machine.host(frame: 4).initializeMemory(as: UInt8.self, repeating: 7, count: 4096)
            #expect(fence.wait(deadline: soon()))
            #expect(fence.error == EIO)
            #expect(body.context.failure?.fault?.access == .write)
            #expect(machine.bytes(frame: 4, count: 4096).allSatisfy { $0 == 7 })
        }
    }
}
