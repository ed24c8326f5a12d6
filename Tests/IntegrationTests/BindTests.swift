import CWireProtocol
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// VM_BIND over the socket: what a client asks for, what the tree, the page tables and the bytes say.
@Suite struct BindTests {
    @Test func helloSaysWhatTheDeviceIs() throws {
        let daemon = try TestDaemon { $0.device.copyEngines = 3 }
        let server = try daemon.connect().server
        #expect(server.major == 1 && server.minor == 3)
        #expect(server.vramBytes == 64 << 20)
        #expect(server.systemBytes == 256 << 20)
        #expect(server.vaBits == 48)
        #expect(server.pageBytes == 4096)
        #expect(server.copyEngines == 3)
        #expect(server.capabilities == 0x1ff)
        #expect(server.name.hasPrefix("gpuvmd "))
    }

    @Test func anAsynchronousBindWaitsForItsPointAndTheBytesArrive() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let source = try connection.makeBuffer(size: 1 << 20, placement: .vram, name: "source")
        let target = try connection.makeBuffer(size: 1 << 20, name: "target")
        fill(try source.map(), seed: 7)
        let other = try bench.vm.makeQueue(.copy, instance: 1)
        let timeline = try connection.makeSyncobj()

        // The kernel's rule: nothing waits for what was not submitted.
        #expect(
            errno {
                try bench.vm.bindAsync(
                    [.map(source, at: 0x1000_0000, range: 1 << 20)], waits: [timeline.point(1)])
            } == EINVAL)
        #expect(try connection.mappings(ofVM: bench.id).count == 2)

        try bench.block(on: 0, signals: [timeline.point(1)])
        let bind = try bench.vm.bindAsync(
            [
                .map(source, at: 0x1000_0000, range: 1 << 20),
                .map(target, at: 0x2000_0000, range: 1 << 20),
            ], waits: [timeline.point(1)], signals: [timeline.point(2)])
        let copy = try other.exec(
            [
                bench.batch {
                    $0.copy(from: 0x1000_0000, to: 0x2000_0000, bytes: 1 << 20)
                }
            ], waits: [timeline.point(2)], signals: [timeline.point(3)])
        // The tree is the submitted state, the page table the executed one.
        #expect(try connection.mappings(ofVM: bench.id).count == 4)
        #expect(
            try connection.walk(vm: bench.id, address: 0x1000_0000).result
                == GPUVM_WALK_FAULT.rawValue)
        #expect(try timeline.query() == 0)
        #expect(try timeline.query(lastSubmitted: true) == 3)
        #expect(try connection.fenceInfo(bind.fence).signaled == 0)

        let third = try bench.vm.makeQueue(.copy, instance: 1)
        try bench.release(0, queue: third)
        try connection.wait(for: [timeline.point(3)], deadline: soon())
        #expect(try timeline.query() == 3)
        #expect(isFilled(try target.map(), seed: 7))

        let (bound, copied) = (try connection.fenceInfo(bind.fence), try connection.fenceInfo(copy))
        #expect(bound.signaled == 1 && bound.error == 0)
        #expect(bound.queue_kind == GPUVM_ENGINE_BIND.rawValue && bound.queue == 0)
        #expect(copied.queue_kind == GPUVM_ENGINE_COPY.rawValue && copied.queue != 0)
        #expect(bound.submitted <= bound.started && bound.started <= bound.finished)
        #expect(bound.finished <= copied.started && copied.started <= copied.finished)
        #expect(
            errno { _ = try connection.fenceInfo(FenceID(context: 1 << 60, sequence: 1)) }
                == ENOENT)
    }

    @Test func whatIsShownIsWhatWasBound() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect("shown")
        let vm = try connection.makeVM(
            start: 0x10_0000, range: 0x1000_0000, reserved: (0x20_0000, 0x1000), name: "space")
        let buffer = try connection.makeBuffer(size: 4 << 20, placement: .vram, name: "texture")
        try vm.bind([
            // 2 MiB, then 64 KiB + 4 KiB, read-only.
            .map(buffer, at: 0x40_0000, range: 0x20_0000),
            .map(buffer, at: 0x80_0000, range: 0x1_1000, offset: 0x20_0000, readOnly: true),
            .mapNull(at: 0xa0_0000, range: 0x1000),
        ])
        let record = try #require(try connection.vms().first)
        #expect(record.start == 0x10_0000 && record.range == 0x1000_0000)
        #expect(record.reserved_start == 0x20_0000 && record.reserved_range == 0x1000)
        #expect(record.flags == 0 && record.pending_binds == 0)
        #expect(record.leaves_2m == 1 && record.leaves_64k == 1 && record.leaves_4k == 1)
        #expect(record.leaves_1g == 0 && record.leaves_null == 1)
        #expect(record.objects == 1)
        #expect(WireName.display(record.name) == "space")
        #expect(WireName.display(record.client) == "shown")
        // Root, one table below each of its 1 GiB, one of 2 MiB, two of 4 KiB (0x80…, 0xa0…).
        #expect(record.table_pages == 5)

        let shown = try connection.mappings(ofVM: record.id)
        #expect(shown.map(\.address) == [0x20_0000, 0x40_0000, 0x80_0000, 0xa0_0000])
        #expect(shown.map(\.range) == [0x1000, 0x20_0000, 0x1_1000, 0x1000])
        #expect(shown.map(\.offset) == [0, 0, 0x20_0000, 0])
        #expect(
            shown.map(\.flags) == [
                GPUVM_MAPPING_RESERVED, 0, GPUVM_MAPPING_READ_ONLY, GPUVM_MAPPING_NULL,
            ])
        #expect(shown.map { WireName.display($0.name) } == ["", "texture", "texture", ""])
        #expect(shown[1].object == shown[2].object && shown[1].object != 0)
        #expect(shown[1].placement == GPUVM_PLACE_VRAM && shown[0].object == 0)
        let mapped = shown.filter { $0.flags & GPUVM_MAPPING_RESERVED == 0 }.map(\.range)
        #expect(record.mappings == 3)
        #expect(record.mapped_bytes == mapped.reduce(0, +))

        let base = try buffer.info().physical_address
        let walk = try connection.walk(vm: record.id, address: 0x81_0123)
        #expect(walk.result == GPUVM_WALK_MEMORY.rawValue)
        // 0x81_0123 is 0x1_0123 into the mapping, which begins 2 MiB into the buffer.
        #expect(walk.physical_address == base + 0x20_0000 + 0x1_0123)
        #expect(walk.leaf_bytes == 4096 && walk.flags == GPUVM_MAPPING_READ_ONLY)
        #expect(walk.placement == GPUVM_PLACE_VRAM && walk.level_count == 4)
        let levels = [walk.levels.0, walk.levels.1, walk.levels.2, walk.levels.3]
        #expect(levels.map(\.level) == [3, 2, 1, 0])
        #expect(levels.map(\.index) == [0, 0, 4, 0x10])
        #expect(levels[0].table == record.root_address)
        for (upper, lower) in zip(levels, levels.dropFirst()) {
            #expect(upper.entry == lower.table | 1, "an entry of level \(upper.level)")
        }
        // Valid, leaf, not writable, no hint: the 17th page of the mapping.
        #expect(levels[3].entry == base + 0x21_0000 | 0b11)
        let big = try connection.walk(vm: record.id, address: 0x5f_ffff)
        #expect(big.leaf_bytes == 2 << 20 && big.physical_address == base + 0x1f_ffff)
        #expect(big.level_count == 3)
        let null = try connection.walk(vm: record.id, address: 0xa0_0000)
        #expect(null.result == GPUVM_WALK_NULL.rawValue && null.flags == GPUVM_MAPPING_NULL)
        for address in [0x60_0000, 1 << 47, 1 << 48, UInt64.max] {
            #expect(
                try connection.walk(vm: record.id, address: address).result
                    == GPUVM_WALK_FAULT.rawValue)
        }

        let status = try connection.status()
        #expect(status.clients == 1 && status.vms == 1 && status.bos == 1 && status.queues == 0)
        #expect(status.mappings == 3)
        #expect(status.vram_used == 4 << 20 && status.system_used == 0)
        #expect(status.table_pages == (16 << 20) / 4096)
        #expect(status.table_pages_used == 5)
        #expect(status.bind_jobs == 1 && status.exec_jobs == 0 && status.failed_jobs == 0)
        let client = try #require(try connection.clients().first)
        #expect(client.pid == getpid() && client.uid == geteuid())
        #expect(client.vms == 1 && client.bos == 1 && client.bo_bytes == 4 << 20)
        #expect(WireName.display(client.name) == "shown")
    }

    /// One line for each picture of the kernel's "Split and Merge": old and new mapping in pages
    /// (address, count, offset), whether of the same buffer; expected kind, prev and next pages.
    static let overlaps:
        [(
            number: UInt32, old: (UInt64, UInt64, UInt64), new: (UInt64, UInt64, UInt64),
            same: Bool, remap: Bool, keep: Bool, prev: UInt64, next: UInt64
        )] = [
            (1, (16, 4, 0), (16, 4, 0), true, false, true, 0, 0),
            (2, (16, 4, 0), (16, 4, 8), true, false, false, 0, 0),
            (3, (16, 4, 0), (16, 4, 0), false, false, false, 0, 0),
            (4, (16, 2, 0), (16, 4, 0), true, false, true, 0, 0),
            (5, (16, 4, 0), (16, 2, 0), false, true, false, 0, 2),
            (6, (16, 4, 0), (16, 2, 0), true, true, true, 0, 2),
            (7, (16, 4, 0), (18, 2, 0), false, true, false, 2, 0),
            (8, (16, 4, 0), (18, 2, 2), true, true, true, 2, 0),
            (9, (16, 4, 0), (18, 4, 0), false, true, false, 2, 0),
            (10, (16, 4, 0), (18, 4, 2), true, true, true, 2, 0),
            (11, (16, 4, 0), (17, 2, 0), false, true, false, 1, 1),
            (12, (16, 4, 0), (17, 2, 1), true, true, true, 1, 1),
            (13, (18, 2, 2), (16, 4, 0), true, false, true, 0, 0),
            (14, (17, 2, 0), (16, 4, 0), false, false, false, 0, 0),
            (15, (18, 4, 0), (16, 4, 0), false, true, false, 0, 2),
        ]

    @Test func theRepliesListTheOperationsWithTheirCaseNumbers() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let first = try connection.makeBuffer(size: 64 << 12)
        let second = try connection.makeBuffer(size: 64 << 12)
        for line in Self.overlaps {
            let vm = try connection.makeVM(range: 1 << 30)
            let bind = { (buffer: BufferObject, piece: (UInt64, UInt64, UInt64)) in
                try vm.bind(
                    [
                        .map(
                            buffer, at: piece.0 << 12, range: piece.1 << 12, offset: piece.2 << 12)
                    ], returningOperations: true
                ).operations
            }
            let fresh = try bind(first, line.old)
            #expect(fresh.count == 1 && fresh[0].kind == GPUVM_OP_MAP.rawValue)
            #expect(fresh[0].case_number == 0)
            let operations = try bind(line.same ? first : second, line.new)
            try #require(operations.count == 2, "case \(line.number)")
            let (old, map) = (operations[0], operations[1])
            #expect(old.case_number == line.number)
            #expect(
                old.kind == (line.remap ? GPUVM_OP_REMAP.rawValue : GPUVM_OP_UNMAP.rawValue),
                "case \(line.number)")
            var flags: UInt32 = line.keep ? GPUVM_OP_KEEP : 0
            if line.prev > 0 { flags |= GPUVM_OP_HAS_PREV }
            if line.next > 0 { flags |= GPUVM_OP_HAS_NEXT }
            #expect(old.flags == flags, "case \(line.number)")
            #expect(old.mapping.address == line.old.0 << 12)
            #expect(old.mapping.range == line.old.1 << 12 && old.mapping.bo == first.handle)
            #expect(old.prev.range == line.prev << 12, "case \(line.number)")
            #expect(old.next.range == line.next << 12, "case \(line.number)")
            if line.next > 0 {
                #expect(old.next.address == (line.new.0 + line.new.1) << 12)
                #expect(
                    old.next.offset
                        == old.next.address - (line.old.0 << 12) + (line.old.2 << 12))
            }
            #expect(map.kind == GPUVM_OP_MAP.rawValue && map.mapping.address == line.new.0 << 12)
            #expect(map.mapping.bo == (line.same ? first : second).handle)
            try vm.close()
        }
    }

    @Test func sparseReadsZeroAndDropsWrites() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let buffer = try connection.makeBuffer(size: 1 << 16)
        let memory = try buffer.map()
        fill(memory, seed: 3)
        try bench.vm.bind([
            .mapNull(at: 0x1000_0000, range: 1 << 16),
            .map(buffer, at: 0x2000_0000, range: 1 << 16),
        ])
        // Dropped, and then read back as zero.
        #expect(
            try bench.run {
                $0.copy(from: 0x2000_0000, to: 0x1000_0000, bytes: 1 << 16)
                $0.copy(from: 0x1000_0000, to: 0x2000_0000, bytes: 1 << 15)
            } == 0)
        #expect(memory[..<(1 << 15)].allSatisfy { $0 == 0 })
        var expected = [UInt8](repeating: 0, count: 1 << 16)
        expected.withUnsafeMutableBytes { fill($0, seed: 3) }
        #expect(memory[(1 << 15)...].elementsEqual(expected[(1 << 15)...]))
    }

    @Test func theTreeFollowsALongArrayThatGoesByMemfd() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let vm = try connection.makeVM(range: 1 << 40)
        let buffer = try connection.makeBuffer(size: 1 << 20)
        // 4000 operations of 48 bytes are 192,000 bytes; the op records are even more.
        let operations = (0..<4000).map { index in
            BindOperation.map(
                buffer, at: UInt64(index) << 13, range: 4096, offset: UInt64(index % 256) << 12)
        }
        let reply = try vm.bind(operations, returningOperations: true)
        #expect(reply.operations.count == 4000)
        #expect(reply.operations.map(\.request) == Array(0..<4000))
        // VM_SHOW has room for about 800 records in a page.
        let id = try #require(try connection.vms().first).id
        let shown = try connection.mappings(ofVM: id)
        #expect(shown.map(\.address) == (0..<4000).map { UInt64($0) << 13 })
        #expect(shown.map(\.offset) == (0..<4000).map { UInt64($0 % 256) << 12 })
        #expect(try connection.status().mappings == 4000)
        #expect(try buffer.info().mappings == 4000)
        try vm.bind([.unmapAll(buffer)])
        #expect(try connection.mappings(ofVM: id).isEmpty)
        #expect(try buffer.info().mappings == 0)
    }

    @Test func anArrayThatFailsChangesNothing() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let vm = try connection.makeVM(range: 1 << 30)
        let buffer = try connection.makeBuffer(size: 1 << 16)
        try vm.bind([.map(buffer, at: 0x10_0000, range: 1 << 16)])
        let before = Bystander(connection)
        let view = try before.view()
        for bad: BindOperation in [
            .map(buffer, at: 1 << 30, range: 4096),  // behind the space
            .map(buffer, at: 0, range: 4096, offset: 1 << 16),
            .unmap(at: 1 << 30, range: 4096),
            .prefetch(at: 1 << 31, range: 4096),
        ] {
            #expect(
                errno {
                    try vm.bind([
                        .unmap(at: 0x10_0000, range: 1 << 16), .mapNull(at: 0, range: 1 << 20),
                        bad,
                    ])
                } == EINVAL)
            #expect(try before.view() == view)
        }
    }

    @Test func aLocalBufferStaysInItsVM() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let stranger = try daemon.connect("stranger")
        let home = try connection.makeVM(range: 1 << 30)
        let away = try connection.makeVM(range: 1 << 30)
        let buffer = try connection.makeBuffer(size: 4096, localTo: home)
        try home.bind([.map(buffer, at: 0x1000, range: 4096)])
        #expect(errno { try away.bind([.map(buffer, at: 0x1000, range: 4096)]) } == EINVAL)
        #expect(errno { _ = try buffer.export() } == EPERM)
        #expect(try buffer.info().flags == GPUVM_BO_LOCAL)
        // Its memfd does not lead there either.
        #expect(
            errno {
                _ = try stranger.importBuffer(OwnedFD(duplicating: buffer.fd), size: 4096)
            } == EPERM)
        #expect(try stranger.status().bos == 1)
    }

    @Test func anExportedBufferIsTheSameForAnotherClient() throws {
        let daemon = try TestDaemon()
        let (owner, other) = (try daemon.connect("owner"), try daemon.connect("other"))
        let before = try daemon.counts(other).vramUsed
        let buffer = try owner.makeBuffer(size: 1 << 16, placement: .vram, name: "shared")
        let imported = try other.importBuffer(try buffer.export(), size: 1 << 16)
        #expect(imported.placement == .vram && imported.size == 1 << 16)
        #expect(
            try imported.info().physical_address == buffer.info().physical_address)
        #expect(try owner.status().vram_used == 1 << 16)
        let again = try other.importBuffer(try buffer.export(), size: 4096)
        #expect(again.handle == imported.handle)
        // The frames live as long as anybody has them.
        let bench = try Workbench(other)
        try bench.vm.bind([.map(imported, at: 0x1000_0000, range: 1 << 16)])
        let view = try buffer.map()
        #expect(try bench.run { $0.fill(0x1000_0000, bytes: 1 << 16, pattern: 0x0403_0201) } == 0)
        #expect(view.enumerated().allSatisfy { $1 == UInt8($0 % 4 + 1) })
        try buffer.close()
        #expect(try bench.run { $0.fill(0x1000_0000, bytes: 16, pattern: 0) } == 0)
        try imported.close()
        #expect(try other.status().vram_used == 1 << 16, "the VM maps it still")
        try bench.vm.bind([.unmap(at: 0x1000_0000, range: 1 << 16)])
        // The frames go right after the fence, not before it.
        #expect(try daemon.eventually { try other.status().vram_used == before })
    }

    @Test func twoVMsAreApart() throws {
        let daemon = try TestDaemon()
        let (one, two) = (
            try Workbench(try daemon.connect("one")), try Workbench(try daemon.connect("two"))
        )
        let buffers = try [one, two].map { bench in
            let buffer = try bench.connection.makeBuffer(size: 1 << 16)
            try bench.vm.bind([.map(buffer, at: 0x1000_0000, range: 1 << 16)])
            return buffer
        }
        #expect(try one.run { $0.fill(0x1000_0000, bytes: 1 << 16, pattern: 0x1111_1111) } == 0)
        #expect(try two.run { $0.fill(0x1000_0000, bytes: 1 << 16, pattern: 0x2222_2222) } == 0)
        #expect(try buffers[0].map().allSatisfy { $0 == 0x11 })
        #expect(try buffers[1].map().allSatisfy { $0 == 0x22 })
        try one.vm.bind([.unmap(at: 0x1000_0000, range: 1 << 16)])
        #expect(try one.run { $0.fill(0x1000_0000, bytes: 4, pattern: 0) } != 0)
        #expect(try two.run { $0.fill(0x1000_0000, bytes: 4, pattern: 0) } == 0)
        #expect(try two.vm.connection.vms().count == 2)
    }
}
