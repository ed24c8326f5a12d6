import GPUVMClient
import Glibc
import Testing

/// What a client may hold: each limit has its errno, and giving something back helps.
@Suite struct QuotaTests {
    private func daemon() throws -> TestDaemon {
        try TestDaemon {
            $0.device.vram = 16 << 20
            $0.device.systemMemory = 16 << 20
            $0.device.pageTableMemory = 64 << 12
            $0.quotas.boBytes = 12 << 20
            $0.quotas.bos = 8
            $0.quotas.vms = 3
            $0.quotas.queues = 4
            $0.quotas.syncobjs = 10
            $0.quotas.mappings = 20
            $0.quotas.jobsInFlight = 5
            $0.limits.maxClients = 4
        }
    }

    /// Makes objects until it fails; how many there were, and the errno.
    private func fill(_ limit: Int = 1000, _ make: (Int) throws -> Void) -> (Int, Int32?) {
        for index in 0..<limit {
            if let code = errno(of: { try make(index) }) { return (index, code) }
        }
        return (limit, nil)
    }

    @Test func numbersOfObjects() throws {
        let daemon = try daemon()
        let connection = try daemon.connect()
        let before = try daemon.counts(connection)
        var vms: [VM] = []
        var buffers: [BufferObject] = []
        var queues: [Queue] = []
        var objects: [GPUVMClient.Syncobj] = []
        #expect(fill { _ in vms.append(try connection.makeVM(range: 1 << 30)) } == (3, ENOSPC))
        #expect(fill { _ in buffers.append(try connection.makeBuffer(size: 1)) } == (8, ENOSPC))
        #expect(fill { _ in queues.append(try vms[0].makeQueue(.copy)) } == (4, ENOSPC))
        #expect(fill { _ in objects.append(try connection.makeSyncobj()) } == (10, ENOSPC))
        try vms.removeLast().close()
        try buffers.removeLast().close()
        try queues.removeLast().close()
        try objects.removeLast().destroy()
        vms.append(try connection.makeVM(range: 1 << 30))
        buffers.append(try connection.makeBuffer(size: 1))
        queues.append(try vms[0].makeQueue(.bind))
        objects.append(try connection.makeSyncobj())
        // Another client has its own.
        let other = try daemon.connect("other")
        _ = try other.makeVM(range: 1 << 30)
        other.close()
        for queue in queues { try queue.close() }
        for vm in vms { try vm.close() }
        for buffer in buffers { try buffer.close() }
        for object in objects { try object.destroy() }
        #expect(try daemon.settle(connection, to: before) == before)
    }

    @Test func bytesAndMemory() throws {
        let daemon = try daemon()
        let connection = try daemon.connect()
        let big = try connection.makeBuffer(size: 12 << 20, placement: .vram)
        #expect(errno { _ = try connection.makeBuffer(size: 1) } == ENOMEM, "the quota")
        let second = try daemon.connect("second")
        // The first one leaves VRAM for it, and has its bytes in system memory.
        _ = try second.makeBuffer(size: 8 << 20, placement: .vram)
        let full = try connection.status()
        #expect(full.vram_used == 8 << 20 && full.system_used == 12 << 20)
        let third = try daemon.connect("third")
        #expect(errno { _ = try third.makeBuffer(size: 8 << 20) } == ENOMEM, "system memory")
        #expect(
            errno { _ = try third.makeBuffer(size: 12 << 20, placement: .vram) } == ENOMEM,
            "nowhere to evict to")
        #expect(try connection.status().vram_used == 8 << 20)
        try big.close()
        _ = try third.makeBuffer(size: 12 << 20, placement: .vram)
        let status = try connection.status()
        #expect(status.vram_used == 12 << 20 && status.system_used == 8 << 20)
    }

    @Test func mappingsTablesAndJobs() throws {
        let daemon = try daemon()
        let connection = try daemon.connect()
        let vm = try connection.makeVM(range: 1 << 40)
        let (count, code) = fill {
            try vm.bind([.mapNull(at: UInt64($0) << 14, range: 3 << 12)])
        }
        // A map has to leave room for the split of what it may lie in.
        #expect((18...20).contains(count) && code == ENOSPC)
        // No unmap is refused, though each makes two of one.
        for index in 0..<count {
            try vm.bind([.unmap(at: UInt64(index) << 14 + 1 << 12, range: 1 << 12)])
        }
        #expect(try connection.status().mappings == UInt64(2 * count))
        try vm.bind([.unmap(at: 0, range: 1 << 40)])
        let used = try connection.status()
        #expect(used.mappings == 0 && used.table_pages_used == 1)
        #expect(used.table_pages_reserved == 0)

        // 64 pages of tables: mappings 512 GiB apart take three each.
        let view = try Bystander(connection).view()
        #expect(
            errno {
                try vm.bind((0..<15).map { .mapNull(at: UInt64($0) << 31 + 1 << 30, range: 4096) })
                try vm.bind((0..<3).map { .mapNull(at: UInt64($0) << 36, range: 1 << 35) })
            } == ENOSPC)
        #expect(try connection.status().mappings <= 15)
        try vm.bind([.unmap(at: 0, range: 1 << 40)])
        #expect(try Bystander(connection).view().counts == view.counts)

        let bench = try Workbench(connection)
        let opener = try bench.vm.makeQueue(.copy, instance: 1)
        let object = try connection.makeSyncobj()
        try bench.block(on: 0, signals: [object.point(1)])
        let jobs = fill { _ in _ = try bench.queue.exec([], signals: [object.point(9)]) }
        #expect(jobs == (4, EAGAIN))
        #expect(errno { try bench.vm.bindAsync([]) } == EAGAIN)
        // The semaphore is released by the CPU, since no job may be submitted.
        try bench.semaphores.map().storeBytes(of: 1, as: UInt64.self)
        try connection.wait(for: [object.point(9)], deadline: soon())
        #expect(try bench.run(on: opener) { $0.nop() } == 0)
    }

    @Test func connections() throws {
        let daemon = try daemon()
        let clients = try (0..<4).map { try daemon.connect("\($0)") }
        #expect(errno { _ = try daemon.connect("fifth") } == ECONNRESET)
        #expect(daemon.log.lines().contains { $0.contains("limits.max_clients") })
        #expect(try clients[0].status().clients == 4)
    }
}
