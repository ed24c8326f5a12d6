import AllocationProbe
import Engines
import Fencing
import Glibc
import Memory
import Scheduling
import Synchronization
import TestSupport
import Testing
import WireProtocol

@testable import Device

/// What bind jobs, moves and engines do between a fence's publication and its signal allocates
/// nothing: counted on their threads.
///
/// Each scenario runs twice, and the second run counts: Swift's runtime makes what it needs of a type
/// at the type's first use.
@Suite("Allocations while signalling", .serialized)
struct SignallingAllocationTests {
    /// Runs C code of the probe on an engine's only thread.
    private final class ProbeJob: JobBody {
        private let counts: Bool
        let result = Atomic<UInt64>(0)
        init(counts: Bool) { self.counts = counts }

        func run(_ slice: inout JobSlice) -> JobOutcome {
            if counts {
                result.store(gpuvm_allocation_probe_count(), ordering: .relaxed)
                gpuvm_allocation_probe_arm(GPUVM_ALLOCATIONS_NONE)
            } else {
                gpuvm_allocation_probe_arm(GPUVM_ALLOCATIONS_SIGNALLING)
            }
            return .done
        }
    }

    /// The engines' threads, one each.
    private struct Probes {
        var queues: [JobQueue]

        init(_ device: Device) {
            queues = ([device.bindScheduler] + device.copyEngines.map(\.scheduler)).map {
                JobQueue($0, name: "probe")
            }
        }

        func arm() throws {
            for queue in queues {
                let fence = try queue.submit(Job(body: ProbeJob(counts: false)))
                #expect(fence.wait())
            }
        }

        func counts() throws -> [UInt64] {
            try queues.map { queue in
                let body = ProbeJob(counts: true)
                let fence = try queue.submit(Job(body: body))
                #expect(fence.wait())
                return body.result.load(ordering: .relaxed)
            }
        }
    }

    @Test(
        "Binds, evictions, restores and copies",
        arguments: [[], .immediateMode] as [DeviceVM.Flags], [.generic, .gp100] as [TableFormat]
    )
    func counted(flags: DeviceVM.Flags, format: TableFormat) throws {
        guard gpuvm_allocation_probe_is_live() == 1 else { return }
        let fixture = try DeviceFixture(tables: 16 << 20) {
            $0.vramBytes = 1 << 20
            $0.bindWorkers = 1
            $0.copyEngines = 1
        }
        let probes = Probes(fixture.device)
        var spaces: [(vm: UInt32, queue: UInt32, buffer: TestBuffer, batch: TestBuffer)] = []
        for index in 0..<3 {
            let vm = try fixture.client.createVM(
                name: "vm", start: 0, range: 1 << 47, flags: flags, format: format
            ).handle
            let buffer = try fixture.makeBuffer(512 << 10)
            let batch = try fixture.makeBuffer(4096, .system)
            var writer = CommandWriter()
            writer.fill(0, bytes: 256 << 10, pattern: UInt32(index))
            writer.copy(from: 0, to: 256 << 10, bytes: 256 << 10)
            writer.end()
            batch.write(writer.dwords)
            try fixture.bind(
                vm,
                [
                    BindOperation(.map, address: 0, range: 512 << 10, buffer: buffer.object),
                    BindOperation(.map, address: 1 << 40, range: 4096, buffer: batch.object),
                ])
            spaces.append(
                (
                    vm, try fixture.client.createQueue(vm: vm, engineClass: .copy), buffer, batch
                ))
        }
        for run in 0..<2 {
            let before = fixture.device.status()
            try probes.arm()
            for round in 0..<6 {
                let space = spaces[round % 3]
                let fence = try fixture.client.execute(
                    queue: space.queue, batches: [CommandBatch(address: 1 << 40)], waits: [],
                    signals: [])
                try #require(fence.wait(deadline: Runtime.deadline(after: 5_000_000_000)))
                #expect(fence.error == 0)
                let far = UInt64(1) << 30
                try fixture.bind(
                    space.vm,
                    [
                        BindOperation(
                            .map, address: far, range: 64 << 10, buffer: space.buffer.object),
                        BindOperation(.mapNull, address: far + 8192, range: 16 << 10),
                        BindOperation(
                            .map, address: far + 12288, range: 4096, buffer: space.batch.object),
                        BindOperation(.unmap, address: far + 4096, range: 32 << 10),
                    ])
                try fixture.bind(
                    space.vm, [BindOperation(.unmap, address: far, range: 1 << 20)])
                // Another buffer of the VM, which is then unmapped as a whole.
                try fixture.bind(
                    space.vm,
                    [
                        BindOperation(.unmapAll, buffer: space.batch.object),
                        BindOperation(
                            .map, address: 1 << 40, range: 4096, buffer: space.batch.object),
                    ])
            }
            let counts = try probes.counts()
            let after = fixture.device.status()
            #expect(after.evictions - before.evictions >= 4, "moves were among the work")
            #expect(after.bindJobs - before.bindJobs >= 18)
            if run == 1 { #expect(counts == [0, 0], "the bind engine's, the copy engine's") }
        }
    }
}
