import CPlatform
import Fencing
import Glibc
import Testing

@Suite("nouveau: sync objects")
struct SyncobjTests {
    @Test("CREATE and DESTROY")
    func handles() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        #expect(try file.errno(Request.syncobjCreate, Bytes(8).put(4, UInt32(2))) == EINVAL)
        let syncobj = try file.syncobjCreate()
        #expect(
            try file.errno(Request.syncobjDestroy, Bytes(8).put(0, syncobj).put(4, 1 as UInt32))
                == EINVAL)
        #expect(try file.errno(Request.syncobjDestroy, Bytes(8).put(0, syncobj)) == 0)
        #expect(try file.errno(Request.syncobjDestroy, Bytes(8).put(0, syncobj)) == EINVAL)
    }

    @Test("WAIT: nothing submitted, time-out, flags, no objects, no handle")
    func waits() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let empty = try file.syncobjCreate()
        let signalled = try file.syncobjCreate(signalled: true)
        #expect(try file.wait([empty]) == EINVAL)
        #expect(try file.wait([empty], flags: 2, timeout: 0) == ETIME)
        #expect(try file.wait([empty], flags: 2, timeout: -1) == ETIME)
        let soon = Int64(Runtime.deadline(after: 20_000_000))
        #expect(try file.wait([empty], flags: 2, timeout: soon) == ETIME)
        #expect(Int64(Runtime.now()) >= soon)
        #expect(try file.wait([signalled, empty], flags: 2) == 0)
        #expect(try file.wait([signalled, empty], flags: 3, timeout: 0) == ETIME)
        #expect(try file.wait([signalled], flags: 4) == EINVAL)
        #expect(try file.wait([signalled], flags: 9, timeout: 0) == 0, "a deadline is a hint")
        #expect(try file.wait([999]) == ENOENT)
        #expect(
            try file.errno(Request.syncobjWait, file.waitArguments(0, flags: 1, timeout: 0)) == 0)
        #expect(
            try file.errno(
                Request.syncobjWait, file.waitArguments(2, flags: 1, timeout: 0),
                [file.handles([signalled])]) == EFAULT)
        // The index of who ended it.
        let any = try file.expect(
            Request.syncobjWait, file.waitArguments(2, flags: 2, timeout: 0),
            [file.handles([empty, signalled])])
        #expect(any.argument.u32(24) == 1)
    }

    @Test("A wait returns when somebody signals, and costs no thread meanwhile")
    func blockingWait() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let syncobj = try file.syncobjCreate()
        let (answer, pending) = file.start(
            Request.syncobjWait, file.waitArguments(1, flags: 2, timeout: .max),
            [file.handles([syncobj])])
        #expect(!answer.isThere && pending != nil)
        try file.expect(
            Request.syncobjSignal, Bytes(16).put(8, UInt32(1)), [file.handles([syncobj])])
        #expect(try #require(answer.get()).result == 0)
        // Cancelled, as when its process dies.
        try file.expect(
            Request.syncobjReset, Bytes(16).put(8, UInt32(1)), [file.handles([syncobj])])
        let (second, wait) = file.start(
            Request.syncobjWait, file.waitArguments(1, flags: 2, timeout: .max),
            [file.handles([syncobj])])
        wait?.cancel()
        #expect(try #require(second.get()).result == -ECANCELED)
    }

    @Test("RESET and SIGNAL refuse an empty array, padding and unknown handles")
    func arrays() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let syncobj = try file.syncobjCreate()
        for request in [Request.syncobjReset, Request.syncobjSignal] {
            let one = Bytes(16).put(8, UInt32(1))
            #expect(try file.errno(request, Bytes(16)) == EINVAL)
            #expect(
                try file.errno(request, one.put(12, UInt32(1)), [file.handles([syncobj])])
                    == EINVAL)
            #expect(try file.errno(request, one, [file.handles([77])]) == ENOENT)
            #expect(try file.errno(request, one) == EFAULT)
        }
    }

    @Test("Timelines: SIGNAL, QUERY, TIMELINE_WAIT with AVAILABLE")
    func timelines() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let timeline = try file.syncobjCreate()
        func signal(_ point: UInt64) throws {
            try file.expect(
                Request.syncobjTimelineSignal, Bytes(24).put(16, UInt32(1)),
                [file.handles([timeline]), file.points([point])])
        }
        #expect(try file.query(timeline) == 0)
        try signal(3)
        #expect(try file.query(timeline) == 3)
        #expect(try file.query(timeline, flags: 1) == 3)
        #expect(try file.timelineWait([(timeline, 2)]) == 0)
        // Without points all are 0: the timeline as a whole.
        #expect(
            try file.errno(
                Request.syncobjTimelineWait, file.timelineArguments(1, flags: 1, timeout: 0),
                [file.handles([timeline]), .init(offset: 8, bytes: Bytes(0))]) == 0)
        #expect(try file.timelineWait([(timeline, 4)]) == EINVAL)
        #expect(try file.timelineWait([(timeline, 4)], flags: 5, timeout: 0) == ETIME)
        #expect(try file.timelineWait([(timeline, 4)], flags: 16) == EINVAL)
        let (answer, _) = file.start(
            Request.syncobjTimelineWait, file.timelineArguments(1, flags: 4, timeout: .max),
            [file.handles([timeline]), file.points([4])])
        #expect(!answer.isThere)
        try signal(4)
        let reply = try #require(answer.get())
        #expect(reply.result == 0)
        #expect(Bytes(reply.argument.bytes).u32(32) == 0)
        #expect(
            try file.errno(
                Request.syncobjQuery, Bytes(24).put(16, UInt32(1)).put(20, UInt32(2)),
                [file.handles([timeline]), file.points([0], isOutput: true)]) == EINVAL)
        #expect(
            try file.errno(
                Request.syncobjQuery, Bytes(24).put(16, UInt32(1)), [file.handles([timeline])])
                == EFAULT)
        #expect(
            try file.errno(
                Request.syncobjTimelineSignal, Bytes(24).put(16, UInt32(1)).put(20, UInt32(1)),
                [file.handles([timeline]), file.points([9])]) == EINVAL)
    }

    @Test("TRANSFER moves fences both ways and waits for a submission")
    func transfer() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let source = try file.syncobjCreate(signalled: true)
        let timeline = try file.syncobjCreate()
        let binary = try file.syncobjCreate()
        func arguments(
            _ from: UInt32, _ fromPoint: UInt64, _ to: UInt32, _ toPoint: UInt64,
            flags: UInt32 = 0
        ) -> Bytes {
            Bytes(32).put(0, from).put(4, to).put(8, fromPoint).put(16, toPoint).put(24, flags)
        }
        let transfer = Request.syncobjTransfer
        try file.expect(transfer, arguments(source, 0, timeline, 7))
        #expect(try file.query(timeline) == 7)
        try file.expect(transfer, arguments(timeline, 7, binary, 0))
        #expect(try file.wait([binary], timeout: 0) == 0)
        #expect(try file.errno(transfer, arguments(timeline, 8, binary, 0)) == EINVAL)
        #expect(try file.errno(transfer, arguments(99, 0, binary, 0)) == ENOENT)
        #expect(try file.errno(transfer, arguments(source, 0, 99, 0)) == ENOENT)
        #expect(try file.errno(transfer, arguments(source, 0, binary, 0, flags: 1)) == EINVAL)
        #expect(
            try file.errno(transfer, arguments(source, 0, binary, 0).put(28, UInt32(1)))
                == EINVAL)
        let (answer, _) = file.start(transfer, arguments(timeline, 8, binary, 0, flags: 2))
        #expect(!answer.isThere)
        try file.expect(
            Request.syncobjTimelineSignal, Bytes(24).put(16, UInt32(1)),
            [file.handles([timeline]), file.points([8])])
        #expect(try #require(answer.get()).result == 0)
    }

    @Test("Descriptors: the object itself, a snapshot, and what is neither")
    func descriptors() throws {
        let fixture = try NouveauFixture()
        let (one, two) = (fixture.open(), fixture.open())
        let syncobj = try one.syncobjCreate()
        let exported = try one.expect(
            Request.syncobjHandleToFD, Bytes(16).put(0, syncobj))
        let fd = try #require(exported.descriptor?.rawValue)
        let imported = try two.expect(Request.syncobjFDToHandle, Bytes(16), fds: [fd])
        try one.expect(
            Request.syncobjSignal, Bytes(16).put(8, UInt32(1)), [one.handles([syncobj])])
        #expect(try two.wait([imported.argument.u32(0)], timeout: 0) == 0)

        let file = try one.expect(
            Request.syncobjHandleToFD, Bytes(16).put(0, syncobj).put(4, UInt32(1)))
        let snapshot = try #require(file.descriptor?.rawValue)
        var polled = pollfd(fd: snapshot, events: Int16(POLLIN), revents: 0)
        #expect(poll(&polled, 1, 1000) == 1)
        let target = try two.syncobjCreate()
        try two.expect(
            Request.syncobjFDToHandle, Bytes(16).put(0, target).put(4, UInt32(1)),
            fds: [snapshot])
        #expect(try two.wait([target], timeout: 0) == 0)
        // The struct of Linux 6.16, with a point.
        let timeline = try two.syncobjCreate()
        try two.expect(
            0xc018_64c2, Bytes(24).put(0, timeline).put(4, UInt32(3)).put(16, UInt64(5)),
            fds: [snapshot])
        #expect(try two.query(timeline) == 5)

        let toFD = Request.syncobjHandleToFD
        let empty = try one.syncobjCreate()
        #expect(try one.errno(toFD, Bytes(16).put(0, UInt32(77))) == EINVAL)
        #expect(try one.errno(toFD, Bytes(16).put(0, UInt32(77)).put(4, UInt32(1))) == ENOENT)
        #expect(try one.errno(toFD, Bytes(16).put(0, empty).put(4, UInt32(1))) == EINVAL)
        #expect(try one.errno(toFD, Bytes(16).put(0, empty).put(4, UInt32(4))) == EINVAL)
        #expect(try one.errno(toFD, Bytes(16).put(0, empty).put(12, UInt32(4))) == EINVAL)
        let toHandle = Request.syncobjFDToHandle
        #expect(try one.errno(toHandle, Bytes(16), fds: [snapshot]) == EINVAL)
        #expect(try one.errno(toHandle, Bytes(16), fds: []) == EINVAL)
        #expect(
            try one.errno(
                toHandle, Bytes(16).put(0, UInt32(77)).put(4, UInt32(1)), fds: [snapshot])
                == ENOENT)
        #expect(
            try one.errno(toHandle, Bytes(16).put(0, empty).put(4, UInt32(1)), fds: [fd])
                == EINVAL)
    }

    @Test("EVENTFD fires with the point")
    func eventfd() throws {
        let fixture = try NouveauFixture()
        let file = fixture.open()
        let syncobj = try file.syncobjCreate()
        let event = gpuvm_eventfd_create(0)
        try #require(event >= 0)
        defer { close(event) }
        let request = Request.syncobjEventFD
        try file.expect(request, Bytes(24).put(0, syncobj), fds: [event])
        var polled = pollfd(fd: event, events: Int16(POLLIN), revents: 0)
        #expect(poll(&polled, 1, 0) == 0)
        try file.expect(
            Request.syncobjSignal, Bytes(16).put(8, UInt32(1)), [file.handles([syncobj])])
        #expect(poll(&polled, 1, 5000) == 1)
        #expect(try file.errno(request, Bytes(24).put(0, UInt32(77)), fds: [event]) == ENOENT)
        #expect(
            try file.errno(request, Bytes(24).put(0, syncobj).put(4, UInt32(1)), fds: [event])
                == EINVAL)
        #expect(
            try file.errno(request, Bytes(24).put(0, syncobj).put(20, UInt32(1)), fds: [event])
                == EINVAL)
        #expect(try file.errno(request, Bytes(24).put(0, syncobj)) == EBADF)
        // Left pending: the file's end cancels it.
        let other = try file.syncobjCreate()
        try file.expect(request, Bytes(24).put(0, other), fds: [event])
    }
}
