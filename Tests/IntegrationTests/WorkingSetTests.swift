import CWireProtocol
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// What one VM maps has to fit at once: what happens if it does not.
@Suite struct WorkingSetTests {
    private let mib: UInt64 = 1 << 20

    private func daemon(system: UInt64 = 64 << 20) throws -> TestDaemon {
        try TestDaemon {
            $0.device.vram = 16 << 20
            $0.device.systemMemory = system
        }
    }

    @Test func aWorkingSetThatCannotFitChangesNothing() throws {
        let daemon = try daemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let buffers = try (0..<2).map {
            try connection.makeBuffer(size: 10 * mib, placement: .vram, name: "half \($0)")
        }
        for (index, buffer) in buffers.enumerated() {
            fill(try buffer.map(), seed: UInt64(index + 1))
            try bench.vm.bind([
                .map(buffer, at: 0x1000_0000 * UInt64(index + 1), range: 10 * mib)
            ])
        }
        let id = try bench.id
        let before = try connection.mappings(ofVM: id).map(\.address)
        let jobs = try connection.status().exec_jobs
        let point = bench.nextPoint()
        let batch = try bench.batch { $0.store(0x1000_0000, dword: 1) }
        for _ in 0..<3 {
            #expect(errno { _ = try bench.queue.exec([batch], signals: [point]) } == ENOSPC)
        }
        // Nothing was submitted, and nobody is banned.
        #expect(try connection.mappings(ofVM: id).map(\.address) == before)
        #expect(try connection.status().exec_jobs == jobs)
        #expect(try bench.queue.info().submitted == 0 && bench.queue.info().banned == 0)
        #expect(try bench.done.query(lastSubmitted: true) == 0)
        #expect(try connection.vms().first { $0.id == id }?.flags == 0)
        for (index, buffer) in buffers.enumerated() {
            #expect(isFilled(try buffer.map(), seed: UInt64(index + 1)))
        }
        // With less it goes on, one half after the other.
        for index in [0, 1, 0] {
            let other = 0x1000_0000 * UInt64(2 - index)
            let mine = 0x1000_0000 * UInt64(index + 1)
            try bench.vm.bind([
                .unmap(at: other, range: 10 * mib),
                .map(buffers[index], at: mine, range: 10 * mib),
            ])
            #expect(try bench.run { $0.store(mine + 8, qword: UInt64(index + 70)) } == 0)
            #expect(
                try buffers[index].map().load(fromByteOffset: 8, as: UInt64.self)
                    == UInt64(index + 70))
            #expect(try buffers[index].info().placement == GPUVM_PLACE_VRAM)
        }
    }

    /// Local and shared buffers count alike.
    @Test(arguments: [false, true]) func localBuffersAreAWorkingSetToo(isLocal: Bool) throws {
        let daemon = try daemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let buffers = try (0..<3).map { _ in
            try connection.makeBuffer(
                size: 6 * mib, placement: .vram, localTo: isLocal ? bench.vm : nil)
        }
        for (index, buffer) in buffers.enumerated() {
            try bench.vm.bind([
                .map(buffer, at: 0x1000_0000 * UInt64(index + 1), range: 6 * mib)
            ])
        }
        #expect(errno { try bench.run { $0.nop() } } == ENOSPC)
        try bench.vm.bind([.unmapAll(buffers[1])])
        try buffers[1].close()
        #expect(try bench.run { $0.store(0x3000_0000, dword: 1) } == 0)
    }

    /// There is room in VRAM for the one, but none in system memory for the other.
    @Test func nowhereToGoIsENOMEM() throws {
        let daemon = try daemon(system: 16 << 20)
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let first = try connection.makeBuffer(size: 10 * mib, placement: .vram)
        let system = try connection.makeBuffer(size: 8 * mib)
        #expect(
            errno { _ = try connection.makeBuffer(size: 10 << 20, placement: .vram) } == ENOMEM)
        #expect(try connection.memoryInfo().evictions == 0)
        try system.close()
        let second = try connection.makeBuffer(size: 10 * mib, placement: .vram)
        #expect(try first.info().placement == GPUVM_PLACE_SYSTEM)
        // What comes back gives its place in system memory to what leaves only afterwards.
        try bench.vm.bind([.map(first, at: 0x1000_0000, range: 10 * mib)])
        #expect(errno { try bench.run { $0.nop() } } == ENOMEM)
        try second.close()
        #expect(try bench.run { $0.nop() } == 0)
        #expect(try first.info().placement == GPUVM_PLACE_VRAM)
    }

    /// The victim has a job that waits in memory: who needs the frames waits for it, and nobody else.
    @Test func aBusyVictimIsWaitedForByWhoNeedsItsFrames() throws {
        let daemon = try daemon()
        let holder = try Workbench(try daemon.connect("holder"))
        let held = try holder.connection.makeBuffer(size: 12 * mib, placement: .vram)
        fill(try held.map(), seed: 21)
        try holder.vm.bind([.map(held, at: 0x1000_0000, range: 12 * mib)])
        let blocked = holder.nextPoint()
        try holder.block(on: 0, signals: [blocked])

        let taker = try Workbench(try daemon.connect("taker"))
        // Its engine is the other one; the request returns though the frames are not free yet.
        let other = try taker.vm.makeQueue(.copy, instance: 1)
        let wanted = try taker.connection.makeBuffer(size: 12 * mib, placement: .vram)
        try taker.vm.bind([.map(wanted, at: 0x1000_0000, range: 12 * mib)])
        let after = taker.nextPoint()
        let fence = try other.exec(
            [try taker.batch { $0.fill(0x1000_0000, bytes: 12 << 20, pattern: 7) }],
            signals: [after])
        #expect(try held.info().flags & GPUVM_BO_EVICTED != 0)
        #expect(try taker.connection.fenceInfo(fence).signaled == 0)
        // A bystander's work in system memory goes on.
        let bystander = try Workbench(try daemon.connect("bystander"))
        let free = try bystander.vm.makeQueue(.copy, instance: 1)
        #expect(try bystander.run(on: free) { $0.nop() } == 0)
        #expect(try taker.connection.fenceInfo(fence).signaled == 0)
        try holder.semaphores.map().storeBytes(of: 1, as: UInt64.self)
        try holder.connection.wait(for: [blocked], deadline: soon())
        try taker.connection.wait(for: [after], deadline: soon())
        #expect(try taker.connection.fenceInfo(fence).error == 0)
        #expect(isFilled(try held.map(), seed: 21))
        let bytes = try wanted.map()
        #expect(
            stride(from: 0, to: bytes.count, by: 4).allSatisfy {
                bytes.load(fromByteOffset: $0, as: UInt32.self) == 7
            })
    }
}
