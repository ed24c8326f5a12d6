import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// Exec queues over the socket: faults, time-outs, priorities, bans.
@Suite struct QueueTests {
    @Test func aWriteToAReadOnlyMappingFaultsLoudly() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect("faulty")
        let bench = try Workbench(connection)
        let buffer = try connection.makeBuffer(size: 1 << 16, name: "constant")
        let memory = try buffer.map()
        fill(memory, seed: 1)
        try bench.vm.bind([
            .map(buffer, at: 0x1000_0000, range: 1 << 16, readOnly: true),
            .mapNull(at: 0x1800_0000, range: 4096),
        ])
        let victim = try bench.vm.makeQueue(.copy)
        let point = bench.nextPoint()
        let batch = try bench.batch { $0.fill(0x1000_2004, bytes: 64, pattern: 0) }
        let fence = try victim.exec([batch], signals: [point])
        let behind = bench.nextPoint()
        // The queue may be banned already.
        let next = errno { _ = try victim.exec([], signals: [behind]) }
        try connection.wait(for: [point], deadline: soon())
        #expect(isFilled(memory, seed: 1), "the write was stopped")
        let info = try connection.fenceInfo(fence)
        #expect(info.signaled == 1 && info.error == EIO)
        #expect(next == nil || next == ECANCELED)
        #expect(try victim.info().banned == EIO)
        #expect(errno { _ = try victim.exec([]) } == ECANCELED)
        // Its siblings go on.
        #expect(try bench.run { $0.nop() } == 0)

        let fault = try #require(try connection.faults().last)
        #expect(try connection.faults().count == 1)
        #expect(fault.address == 0x1000_2004)
        #expect(fault.access == GPUVM_ACCESS_WRITE.rawValue)
        #expect(fault.reason == GPUVM_FAULT_READ_ONLY.rawValue)
        #expect(fault.command_address == batch.address)
        #expect(fault.vm == (try bench.id) && fault.client_id == connection.server.clientID)
        #expect(fault.engine_instance == 0)
        #expect(
            fault.flags
                == GPUVM_FAULT_HAS_BELOW | GPUVM_FAULT_HAS_ABOVE | GPUVM_FAULT_HAS_LAST_OP)
        #expect(fault.below.address == 0x1000_0000 && fault.below.bo == buffer.handle)
        #expect(fault.below.flags == GPUVM_MAPPING_READ_ONLY)
        #expect(fault.above.address == 0x1800_0000 && fault.above.flags == GPUVM_MAPPING_NULL)
        #expect(fault.last_op_kind == GPUVM_BIND_MAP.rawValue)
        #expect(fault.last_op_address == 0x1000_0000 && fault.last_op_range == 1 << 16)
        #expect(try connection.status().faults == 1)
        #expect(daemon.log.lines().contains { $0.contains("GPU fault") })
    }

    @Test func accessesOutsideOfAnyMappingFaultWithTheirLevel() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        // The command buffer at 0x7000_0000: its 2 MiB table exists, that of 0x7080_0000 does not.
        for (address, level) in [(0x7010_0000, 0), (0x7080_0000, 1), (1 << 46, 3)] {
            let queue = try bench.vm.makeQueue(.copy)
            #expect(
                try bench.run(on: queue) { $0.store(UInt64(address), dword: 1) } == EIO)
            let fault = try #require(try connection.faults().last)
            #expect(fault.address == UInt64(address))
            #expect(fault.reason == GPUVM_FAULT_NOT_MAPPED.rawValue)
            #expect(fault.level == UInt32(level), "0x\(String(address, radix: 16))")
        }
        let queue = try bench.vm.makeQueue(.copy)
        let point = bench.nextPoint()
        _ = try queue.exec([Queue.Batch(address: 0x1234_5000)], signals: [point])
        try connection.wait(for: [point], deadline: soon())
        #expect(
            try #require(try connection.faults().last).access == GPUVM_ACCESS_FETCH.rawValue)
    }

    @Test func aTimeOutBansItsQueueAndNoOther() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let slow = try bench.vm.makeQueue(.copy, timeout: 50_000_000)
        let objects = try (0..<3).map { _ in try connection.makeSyncobj() }
        let first = try bench.block(on: 0, queue: slow, signals: [objects[0].binary])
        let second = try slow.exec([try bench.batch { $0.nop() }], signals: [objects[1].binary])
        let third = try slow.exec([], signals: [objects[2].binary])
        // Meanwhile another queue of the same engine makes progress.
        for _ in 0..<10 { #expect(try bench.run { $0.nop() } == 0) }
        try connection.wait(for: objects.map(\.binary), flags: .all, deadline: soon())
        #expect(try connection.fenceInfo(first).error == ETIME)
        #expect(try connection.fenceInfo(second).error == ECANCELED)
        #expect(try connection.fenceInfo(third).error == ECANCELED)
        let info = try slow.info()
        #expect(info.banned == UInt32(ETIME))
        #expect(info.submitted == 3 && info.completed == 0)
        #expect(info.failed == 1 && info.cancelled == 2)
        #expect(errno { _ = try slow.exec([]) } == ECANCELED)
        #expect(try bench.run { $0.nop() } == 0)
        #expect(try bench.queue.info().banned == 0)
    }

    @Test func aHigherPriorityGoesFirst() throws {
        let daemon = try TestDaemon { $0.device.copyEngines = 1 }
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let stamps = try connection.makeBuffer(size: 4096)
        try bench.vm.bind([.map(stamps, at: 0x1000_0000, range: 4096)])
        let queues = try [QueuePriority.low, .normal, .high].map {
            try bench.vm.makeQueue(.copy, priority: $0)
        }
        // All wait for one fence; when it signals, the engine has the choice.
        let gate = try connection.makeSyncobj()
        let opener = try bench.vm.makeQueue(.copy)
        try bench.block(on: 0, signals: [gate.binary])
        let points = try queues.enumerated().map { index, queue in
            let point = bench.nextPoint()
            _ = try queue.exec(
                [
                    try bench.batch {
                        // Long enough that nobody finishes before all are runnable.
                        for _ in 0..<64 { $0.fill(0x1000_0800, bytes: 2048, pattern: 1) }
                        $0.timestamp(at: 0x1000_0000 + UInt64(8 * index))
                    }
                ], waits: [gate.binary], signals: [point])
            return point
        }
        try bench.release(0, queue: opener)
        try connection.wait(for: points, flags: .all, deadline: soon())
        let times = try (0..<3).map {
            try stamps.map().load(fromByteOffset: 8 * $0, as: UInt64.self)
        }
        #expect(times[2] < times[1] && times[1] < times[0], "\(times)")
    }

    @Test func closingAVMCancelsAndLaterUseFails() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let object = try connection.makeSyncobj()
        let fence = try bench.block(on: 0, signals: [object.binary])
        try bench.vm.close()
        try connection.wait(for: [object.binary], deadline: soon())
        #expect(try connection.fenceInfo(fence).error == ECANCELED)
        #expect(errno { _ = try bench.queue.exec([]) } == ENOENT)
        #expect(errno { try bench.vm.bind([]) } == ENOENT)
        #expect(errno { try bench.vm.close() } == ENOENT)
        #expect(try connection.status().table_pages_used == 0)
    }

    @Test func severalThreadsOfAClientWorkAtOnce() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let workers = try (0..<4).map { index in
            let bench = try Workbench(connection, name: "thread \(index)")
            return Worker {
                let source = try connection.makeBuffer(size: 1 << 16)
                let target = try connection.makeBuffer(size: 1 << 16)
                for round in 0..<20 {
                    let base = UInt64(0x1000_0000 + round << 20)
                    fill(try source.map(), seed: UInt64(index * 1000 + round))
                    let bound = try connection.makeSyncobj()
                    try bench.vm.bindAsync(
                        [
                            .map(source, at: base, range: 1 << 16),
                            .map(target, at: base + 1 << 19, range: 1 << 16),
                        ], signals: [bound.point(1)])
                    let point = bench.nextPoint()
                    _ = try bench.queue.exec(
                        [
                            try bench.batch {
                                $0.copy(from: base, to: base + 1 << 19, bytes: 1 << 16)
                            }
                        ], waits: [bound.point(1)], signals: [point])
                    try connection.wait(for: [point], deadline: soon())
                    guard isFilled(try target.map(), seed: UInt64(index * 1000 + round)) else {
                        throw WireError.invalid("thread \(index), round \(round): wrong bytes")
                    }
                    try bench.vm.bind([.unmap(at: base, range: 1 << 20)])
                    try bound.destroy()
                }
            }
        }
        for worker in workers { try worker.join() }
        #expect(try connection.status().failed_requests == 0)
        #expect(try connection.status().failed_jobs == 0)
    }

    @Test func aBindQueueIsForgottenWithItsLastJob() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let opener = try bench.vm.makeQueue(.copy, instance: 1)
        let (gate, done) = (try connection.makeSyncobj(), try connection.makeSyncobj())
        try bench.block(on: 0, signals: [gate.binary])
        let queue = try bench.vm.makeQueue(.bind)
        try bench.vm.bindAsync(
            [.mapNull(at: 0x1000_0000, range: 4096)], queue: queue, waits: [gate.binary],
            signals: [done.binary])
        // The tree has the result already, so the closed queue still carries it out.
        try queue.close()
        #expect(errno { try bench.vm.bind([], queue: queue) } == ENOENT)
        try bench.release(0, queue: opener)
        try connection.wait(for: [done.binary], deadline: soon())
        #expect(
            try connection.walk(vm: bench.id, address: 0x1000_0000).result
                == GPUVM_WALK_NULL.rawValue)
        // Far above the quota of queues at a time.
        for _ in 0..<1200 {
            let queue = try bench.vm.makeQueue(.bind)
            try bench.vm.bind([], queue: queue)
            try queue.close()
        }
        #expect(try connection.status().queues == 2)
        #expect(daemon.queuesOfVMs() <= 4, "closed bind queues pile up in the VM")
    }
}
