import CPlatform
import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// Sync objects over the socket: waits by fence page and by request, descriptors, eventfds.
@Suite struct SyncTests {
    /// The two ways of a wait. An object of the list that has no slot in a mapped chunk, or more
    /// than 128 points, go by request; the raw request is used here for short lists too.
    enum Way: CaseIterable, Sendable {
        case fencePage
        case request
    }

    private func wait(
        _ way: Way, _ client: Connection, _ raw: RawClient, _ points: [SyncPoint],
        _ flags: WaitFlags, deadline: UInt64
    ) throws -> (error: Int32, first: UInt32) {
        if way == .fencePage {
            var first = 0
            let error = errno {
                first = try client.wait(for: points, flags: flags, deadline: deadline)
            }
            return (error ?? 0, UInt32(first))
        }
        let reply = try raw.call(
            .syncobjWait,
            gpuvm_syncobj_wait(
                count: UInt32(points.count), flags: flags.rawValue,
                deadline: Int64(clamping: deadline)), array: points.map(\.raw))
        guard reply.status == 0 else { return (reply.status, 0) }
        let first = try reply.contents(gpuvm_syncobj_wait_reply.self).first_signaled
        return (0, flags.contains(.all) ? 0 : first)
    }

    @Test(arguments: Way.allCases) func waitsDoWhatTheirFlagsSay(_ way: Way) throws {
        let daemon = try TestDaemon()
        let raw = try RawClient(daemon.path)
        let connection = try Connection(adopting: raw.duplicate(), name: "waiter")
        // The raw client speaks on the same connection: handles are the connection's.
        let bench = try Workbench(connection)
        let opener = try bench.vm.makeQueue(.copy, instance: 1)
        let (pending, empty) = (try connection.makeSyncobj(), try connection.makeSyncobj())
        let ready = try connection.makeSyncobj(signalled: true)
        let line = try connection.makeSyncobj()
        try connection.signal([line.point(5)])
        try bench.block(on: 0, signals: [pending.binary, line.point(8)])
        let wait = { (points: [SyncPoint], flags: WaitFlags, deadline: UInt64) in
            try self.wait(way, connection, raw, points, flags, deadline: deadline)
        }
        let past = 1 as UInt64

        #expect(try wait([ready.binary], [], past) == (0, 0))
        #expect(try wait([line.point(5)], [], past) == (0, 0))
        #expect(try wait([line.point(3)], [], past) == (0, 0))
        #expect(try wait([line.point(8)], [], past) == (ETIME, 0))
        #expect(try wait([line.point(8)], .available, past) == (0, 0))
        #expect(try wait([line.point(9)], [], past) == (EINVAL, 0))
        #expect(try wait([line.point(9)], .forSubmit, past) == (ETIME, 0))
        // As drm_syncobj_array_wait_timeout: AVAILABLE waits for the submission like FOR_SUBMIT.
        #expect(try wait([line.point(9)], .available, past) == (ETIME, 0))
        #expect(try wait([line.point(9)], [.available, .forSubmit], past) == (ETIME, 0))
        #expect(try wait([pending.binary, ready.binary], [], soon()) == (0, 1))
        #expect(try wait([pending.binary, ready.binary], .all, past) == (ETIME, 0))
        #expect(try wait([pending.binary, ready.binary], [.all, .available], past) == (0, 0))
        #expect(try wait([ready.binary, empty.binary], [], past) == (EINVAL, 0))
        #expect(try wait([empty.binary, ready.binary], .forSubmit, soon()) == (0, 1))
        #expect(try wait([empty.binary, ready.binary], [.all, .forSubmit], past) == (ETIME, 0))
        #expect(try wait([], [], past) == (EINVAL, 0))

        try bench.release(0, queue: opener)
        #expect(try wait([pending.binary, line.point(8)], .all, soon()) == (0, 0))
        try connection.signal([empty.binary])
        #expect(
            try wait([empty.binary, pending.binary], [.all, .forSubmit], soon()) == (0, 0))
        try connection.reset([empty.binary])
        #expect(try wait([empty.binary], [], past) == (EINVAL, 0))
    }

    @Test func aWaitInTheDaemonEndsWhenThePointIsSubmittedAndSignalled() throws {
        let daemon = try TestDaemon()
        let raw = try RawClient(daemon.path)
        try raw.hello("waiter")
        let object = try raw.call(.syncobjCreate, gpuvm_syncobj_create(flags: 0, reserved: 0))
            .contents(gpuvm_syncobj_reply.self).handle
        let point = gpuvm_sync(handle: object, flags: GPUVM_SYNC_TIMELINE, point: 4)
        let serial = try raw.send(
            .syncobjWait,
            gpuvm_syncobj_wait(count: 1, flags: GPUVM_WAIT_FOR_SUBMIT, deadline: .max),
            array: [point])
        // The wait holds up nothing: other requests are answered before it.
        #expect(try raw.call(.status).status == 0)
        let signal = try raw.send(
            .syncobjSignal, gpuvm_syncobj_array(count: 1, flags: 0), array: [point])
        let replies = [try raw.receive(), try raw.receive()]
        #expect(Set(replies.map(\.serial)) == [serial, signal])
        #expect(replies.allSatisfy { $0.status == 0 })
    }

    @Test func moreThanTheFutexTakes() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let opener = try bench.vm.makeQueue(.copy, instance: 1)
        let objects = try (0..<300).map { _ in try connection.makeSyncobj() }
        try connection.signal(objects.dropLast().map(\.binary))
        try bench.block(on: 0, signals: [objects[299].binary])
        let points = objects.map(\.binary)
        #expect(errno { try connection.wait(for: points, flags: .all, deadline: 1) } == ETIME)
        #expect(try connection.wait(for: points.reversed(), deadline: soon()) == 1)
        try bench.release(0, queue: opener)
        try connection.wait(for: points, flags: .all, deadline: soon())
    }

    @Test func fencePagesGrowWithTheObjects() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        // Two more chunks of 4096 slots.
        let objects = try (0..<8200).map { _ in try connection.makeSyncobj() }
        let last = objects[8199]
        #expect(errno { try connection.wait(for: [last.binary], deadline: 1) } == EINVAL)
        try connection.signal([last.binary])
        let requests = try connection.status().requests
        try connection.wait(for: [last.binary], deadline: soon())
        #expect(try connection.status().requests == requests + 1, "the wait asked the daemon")
        #expect(try connection.status().syncobjs == 8200)
    }

    @Test func aSyncFileIsASnapshotThatPolls() throws {
        let daemon = try TestDaemon()
        let (one, two) = (try daemon.connect("one"), try daemon.connect("two"))
        let bench = try Workbench(one)
        let opener = try bench.vm.makeQueue(.copy, instance: 1)
        let object = try one.makeSyncobj()
        #expect(errno { _ = try object.exportSyncFile() } == EINVAL)
        try bench.block(on: 0, signals: [object.point(1)])
        let file = try object.exportSyncFile(point: 1)
        #expect(!becomesReadable(file.rawValue, milliseconds: 0))
        // The snapshot does not follow its object.
        try object.reset()
        let target = try two.makeSyncobj()
        try target.importSyncFile(file)
        let line = try two.makeSyncobj()
        try line.importSyncFile(file, point: 7)
        #expect(errno { try two.wait(for: [target.binary], deadline: 1) } == ETIME)
        #expect(errno { try two.wait(for: [line.point(7)], deadline: 1) } == ETIME)
        // Neither a write nor a shutdown of a client's end signals the fence.
        _ = write(file.rawValue, "x", 1)
        let second = try target.exportSyncFile()
        shutdown(second.rawValue, Int32(SHUT_RDWR))
        #expect(errno { try two.wait(for: [target.binary], deadline: 1) } == ETIME)
        try bench.release(0, queue: opener)
        #expect(becomesReadable(file.rawValue))
        #expect(becomesReadable(file.rawValue, milliseconds: 0), "for ever")
        try two.wait(for: [target.binary, line.point(7)], flags: .all, deadline: soon())
        #expect(try line.query() == 7)
        // A file of a fence that has signalled polls at once.
        #expect(becomesReadable(try target.exportSyncFile().rawValue))
    }

    @Test func aSyncobjDescriptorIsTheObject() throws {
        let daemon = try TestDaemon()
        let (one, two) = (try daemon.connect("one"), try daemon.connect("two"))
        let object = try one.makeSyncobj()
        let fd = try object.export()
        let imported = try two.importSyncobj(fd)
        #expect(!becomesReadable(fd.rawValue, milliseconds: 0))
        #expect(errno { try two.wait(for: [imported.point(3)], deadline: 1) } == EINVAL)
        try one.signal([object.point(3)])
        try two.wait(for: [imported.point(3)], deadline: soon())
        #expect(try imported.query() == 3)
        try two.reset([imported.binary])
        #expect(try object.query() == 0)
        // The object outlives its first owner's handle.
        try object.destroy()
        try two.signal([imported.point(9)])
        let again = try one.importSyncobj(fd)
        #expect(try again.query() == 9)
        #expect(!becomesReadable(fd.rawValue, milliseconds: 0), "a syncobj fd does not poll")
        // A sync_file is no syncobj, and the other way round.
        let file = try again.exportSyncFile(point: 9)
        #expect(errno { _ = try one.importSyncobj(file) } == EINVAL)
        #expect(errno { try again.importSyncFile(fd) } == EINVAL)
        #expect(daemon.fenceFiles == 2)
    }

    @Test func anEventFDIsWrittenOnce() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let bench = try Workbench(connection)
        let opener = try bench.vm.makeQueue(.copy, instance: 1)
        let object = try connection.makeSyncobj()
        let signalled = try eventFD()
        let available = try eventFD()
        try object.notify(eventfd: signalled, point: 2)
        try object.notify(eventfd: available, point: 2, whenAvailable: true)
        #expect(!becomesReadable(available.rawValue, milliseconds: 0))
        try bench.block(on: 0, signals: [object.point(2)])
        #expect(becomesReadable(available.rawValue))
        #expect(!becomesReadable(signalled.rawValue, milliseconds: 0))
        try bench.release(0, queue: opener)
        #expect(becomesReadable(signalled.rawValue))
        for fd in [signalled.rawValue, available.rawValue] {
            var value: UInt64 = 0
            #expect(read(fd, &value, 8) == 8 && value == 1)
        }
        let late = try eventFD()
        try object.notify(eventfd: late, point: 2)
        #expect(becomesReadable(late.rawValue), "a point that has signalled")
    }

    private func eventFD() throws -> OwnedFD {
        let fd = gpuvm_eventfd_create(0)
        try #require(fd >= 0)
        return OwnedFD(fd)
    }

    @Test func transferTakesWhatTheSourceHas() throws {
        let daemon = try TestDaemon()
        let connection = try daemon.connect()
        let (source, target) = (try connection.makeSyncobj(), try connection.makeSyncobj())
        #expect(
            errno { try connection.transfer(from: source.binary, to: target.point(1)) } == EINVAL)
        try connection.signal([source.point(4)])
        try connection.transfer(from: source.point(4), to: target.point(6))
        #expect(try target.query() == 6)
        // With the flag it waits for the submission, while the connection goes on.
        let worker = Worker {
            try connection.transfer(
                from: source.point(8), to: target.point(9), waitForSubmit: true)
        }
        try connection.signal([source.point(8)])
        try worker.join()
        #expect(try target.query() == 9)
    }
}
