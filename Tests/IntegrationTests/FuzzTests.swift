import CPlatform
import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import Testing
import WireProtocol

/// Thousands of random and of mutated messages, while a good client's bytes stay right.
@Suite struct FuzzTests {
    @Test(arguments: [1, 0xfeed_5eed] as [UInt64])
    func randomMessages(seed: UInt64) throws {
        let daemon = try DaemonProcess(environment: [
            "GPUVM_DEVICE_JOB_TIMEOUT": "100ms", "GPUVM_LOG_LEVEL": "critical",
        ])
        let observer = try daemon.connect("observer")
        let bench = try Workbench(observer)
        let source = try observer.makeBuffer(size: 1 << 16)
        let target = try observer.makeBuffer(size: 1 << 16)
        fill(try source.map(), seed: seed)
        try bench.vm.bind([
            .map(source, at: 0x1000_0000, range: 1 << 16),
            .map(target, at: 0x2000_0000, range: 1 << 16),
        ])
        let before = try daemon.counts(observer)
        let path = daemon.path
        let workers = (0..<3).map { index in
            Worker { try Self.attack(path, seed: seed &+ UInt64(index), messages: 3000) }
        }
        for round in 0..<40 {
            fill(try target.map(), seed: 0)
            #expect(
                try bench.run { $0.copy(from: 0x1000_0000, to: 0x2000_0000, bytes: 1 << 16) } == 0)
            #expect(isFilled(try target.map(), seed: seed), "seed \(seed), round \(round)")
        }
        for worker in workers { try worker.join() }
        #expect(try bench.queue.info().banned == 0)
        // Enough of the messages are right to get deep into the device, and enough are not.
        let status = try observer.status()
        #expect(status.requests > 7000)
        #expect(status.failed_requests > status.requests / 4)
        #expect(status.failed_requests < status.requests * 3 / 4)
        #expect(status.bind_jobs > 100)
        #expect(status.exec_jobs > 80)
        let after = try daemon.settle(observer, to: before)
        #expect(after == before, "seed \(seed)")
        daemon.process.signal(SIGTERM)
        #expect(daemon.process.waitForEnd().status == 0)
    }

    /// One hostile connection after the other.
    private static func attack(_ path: String, seed: UInt64, messages: Int) throws {
        var messages = RandomMessages(seed: seed, count: messages)
        let fds = try Descriptors()
        let events = [fds.memfd, fds.eventfd, fds.null, fds.pipe, fds.socket, fds.unwritable]
        var raw = try RawClient(path)
        try raw.hello("fuzz")
        while let message = messages.next() {
            let passed = (0..<message.fds).map { events[($0 + message.bytes.count) % events.count] }
            let sent = raw.sendRaw(message.bytes, fds: passed, flags: Int32(MSG_DONTWAIT))
            // A full socket has to be read; a connection that was cut has to be made again.
            if sent == -Int(EAGAIN) { _ = becomesReadable(raw.socket.rawValue, milliseconds: 100) }
            if raw.discardReplies() && sent != -Int(EPIPE) && !message.endsConnection { continue }
            raw = try RawClient(path)
            try raw.hello("fuzz")
        }
    }
}
