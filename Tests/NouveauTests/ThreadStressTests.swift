import Device
import Fencing
import Glibc
import TestSupport
import Testing

@Suite("nouveau: many threads in few files")
struct ThreadStressTests {
    @Test(
        "Binds, jobs, closes and descriptors in six threads end, and every call is answered",
        arguments: 0..<4)
    func threads(_ seed: Int) throws {
        let fixture = try NouveauFixture {
            $0.vramBytes = 16 << 20
            $0.pageTableBytes = 512 * 4096
            $0.jobTimeout = 300_000_000
        }
        let modern = fixture.open()
        try modern.vmInit()
        let old = fixture.open()
        let firstOld = try old.channelAlloc()
        let firstNew = try modern.channelAlloc()
        let shared = try modern.expect(
            Request.gemNew, Bytes(48).put(4, UInt32(0x2)).put(8, UInt64(3) << 20)
        ).argument.u32(0)
        let dma = try #require(
            try modern.expect(Request.primeHandleToFD, Bytes(12).put(0, shared)).descriptor)
        let client = fixture.device.makeClient(name: "d", process: 1, user: 0, isPrivileged: false)
        let calls = DescriptorCalls(fixture.shared, client: client)
        let failures = Guarded(.leaf, [String]())
        var threads: [RuntimeThread] = []
        for index in 0..<6 {
            let thread = RuntimeThread.start(name: "stress\(index)", stackBytes: 4 << 20) {
                var random = SplitMix64(seed: UInt64(seed * 100 + index + 1))
                do {
                    var channel = index % 2 == 0 ? firstNew : firstOld
                    let file = index % 2 == 0 ? modern : old
                    var handles: [UInt32] = []
                    for _ in 0..<250 {
                        switch random.next() % 10 {
                        case 0:
                            let made = try file.call(
                                Request.gemNew,
                                Bytes(48).put(4, UInt32(2)).put(8, (random.next() % 40 + 1) << 16))
                            if made.result == 0 { handles.append(made.argument.u32(0)) }
                        case 1:
                            if !handles.isEmpty {
                                let gone = handles.remove(
                                    at: Int(random.next() % UInt64(handles.count)))
                                _ = try file.call(Request.gemClose, Bytes(8).put(0, gone))
                            }
                        case 2:
                            let made = try file.call(Request.channelAlloc, Bytes(88))
                            if made.result == 0 { channel = made.argument.u32(8) }
                        case 3 where random.next() % 3 == 0:
                            _ = try file.call(Request.channelFree, Bytes(4).put(0, channel))
                        case 4:
                            let made = try file.call(
                                Request.primeFDToHandle, Bytes(12), fds: [dma.rawValue])
                            if made.result == 0, random.next() % 2 == 0 {
                                _ = try file.call(
                                    Request.gemClose, Bytes(8).put(0, made.argument.u32(0)))
                            }
                        case 5:
                            let answer = Answer()
                            let pending = calls.ioctl(
                                IoctlCall(
                                    request: IoctlRequest(0xc008_6202),
                                    argument: IoctlBytes(Bytes(8).put(0, UInt32(3)).bytes),
                                    blocks: [], descriptors: [dma.rawValue])
                            ) { answer.complete($0) }
                            pending?.cancel()
                            if let made = answer.get()?.descriptor {
                                let again = Answer()
                                calls.ioctl(
                                    IoctlCall(
                                        request: IoctlRequest(0x4008_6203),
                                        argument: IoctlBytes(Bytes(8).put(0, UInt32(2)).bytes),
                                        blocks: [], descriptors: [dma.rawValue, made.rawValue])
                                ) { again.complete($0) }
                                _ = again.get()
                            }
                        default:
                            if file === modern {
                                guard !handles.isEmpty else { continue }
                                let handle = handles[Int(random.next() % UInt64(handles.count))]
                                let base = UInt64(index + 1) << 30
                                _ = try file.bind(
                                    [
                                        .map(
                                            random.next() % 3 == 0 ? shared : handle,
                                            at: base + random.next() % 64 * 0x10000, 0x10000),
                                        .unmap(base + random.next() % 64 * 0x10000, 0x20000),
                                    ], asynchronous: random.next() % 2 == 0)
                                _ = try file.exec(channel, [])
                            } else {
                                let list = handles.prefix(4).map {
                                    Bytes(40).put(8, $0).put(12, UInt32(2))
                                        .put(16, UInt32(random.next() % 2 * 2)).put(20, UInt32(6))
                                }
                                guard !list.isEmpty else { continue }
                                _ = try file.call(
                                    Request.gemPushbuf,
                                    Bytes(64).put(0, channel).put(4, UInt32(list.count))
                                        .put(20, UInt32(1)).put(48, random.next() % 2),
                                    [
                                        .init(offset: 8, bytes: .joined(list)),
                                        .init(
                                            offset: 32,
                                            bytes: Bytes(24).put(8, random.next() % 4096 * 4)
                                                .put(16, UInt64(64))),
                                    ])
                            }
                        }
                    }
                } catch {
                    failures.withLock { $0.append("thread \(index): \(error)") }
                }
            }
            if let thread { threads.append(thread) }
        }
        for thread in threads { thread.join() }
        #expect(failures.withLock { $0 }.isEmpty)
        client.close()
    }
}
