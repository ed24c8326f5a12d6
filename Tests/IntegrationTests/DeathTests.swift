import CWireProtocol
import Fencing
import GPUVMClient
import Glibc
import TestSupport
import Testing
import WireProtocol

/// A client's death at any point leaves nothing behind.
@Suite(.serialized) struct DeathTests {
    /// Somebody whose fence never signals, as long as this lives.
    private final class Gate {
        let bench: Workbench
        let object: GPUVMClient.Syncobj
        let fd: OwnedFD

        init(_ connection: Connection) throws {
            bench = try Workbench(connection, timeout: .max)
            object = try connection.makeSyncobj()
            try bench.block(on: 0, signals: [object.binary])
            fd = try object.export()
        }

        /// That the dead could not touch the living.
        func check() throws {
            #expect(
                errno { try bench.connection.wait(for: [object.binary], deadline: 1) } == ETIME)
            let other = try bench.vm.makeQueue(.copy, instance: 1)
            #expect(try bench.run(on: other) { $0.nop() } == 0)
            try other.close()
        }
    }

    /// Nothing may be cleaned up by a time-out.
    private static let patience: UInt64 = 600_000_000_000

    @Test(arguments: [false, true])
    func afterAnyMessageOfASessionInProcess(readsReplies: Bool) throws {
        let daemon = try TestDaemon { $0.device.jobTimeout = Self.patience }
        let observer = try daemon.connect("observer")
        let gate = try Gate(observer)
        let script = try ScriptedSession(gate: gate.fd)
        let count = script.messages.count
        #expect(count == 35)
        let before = try daemon.counts(observer)
        let queues = daemon.queuesOfVMs()
        let lines = daemon.log.count
        for prefix in 1...count {
            do {
                let raw = try RawClient(daemon.path)
                for message in script.messages[..<prefix] {
                    try raw.send(message.bytes, fds: message.fds)
                }
                // All replies but those that never come.
                if readsReplies { try drain(raw, script.messages[..<prefix].map(\.name)) }
            }
            // The connection may be accepted after its end only.
            #expect(daemon.eventually { daemon.departures == prefix })
            let after = try daemon.settle(observer, to: before)
            #expect(after == before, "after \(prefix): \(script.messages[prefix - 1].name)")
            #expect(daemon.queuesOfVMs() == queues)
        }
        try gate.check()
        // Each message of the script is right: what was refused would not test anything.
        let refused = daemon.log.lines(from: lines).filter { $0.contains("request refused") }
        #expect(refused == [])
    }

    @Test func afterAnyMessageOfASessionWithAProcess() throws {
        let daemon = try DaemonProcess(environment: ["GPUVM_DEVICE_JOB_TIMEOUT": "10min"])
        let observer = try daemon.connect("observer")
        let gate = try Gate(observer)
        let script = try ScriptedSession(gate: gate.fd)
        let before = try daemon.counts(observer)
        for prefix in 1...script.messages.count {
            do {
                let raw = try RawClient(daemon.path)
                for message in script.messages[..<prefix] {
                    try raw.send(message.bytes, fds: message.fds)
                }
                try drain(raw, script.messages[..<prefix].map(\.name))
            }
            let after = try daemon.settle(observer, to: before)
            #expect(after == before, "after \(prefix): \(script.messages[prefix - 1].name)")
        }
        try gate.check()
    }

    /// Reads the replies that come: all but those of waits, of the transfer and of the synchronous
    /// bind behind a pending one, which is the third of VM 1's own queue.
    private func drain(_ raw: RawClient, _ names: [String]) throws {
        let silent = names.filter { $0 == "SYNCOBJ_WAIT" || $0 == "SYNCOBJ_TRANSFER" }.count
        let blocked = names.filter { $0 == "VM_BIND" }.count >= 5 ? 1 : 0
        // Closing the VM's queues does not answer: VM 1 stays. Destroying syncobj 1 does neither.
        for _ in 0..<(names.count - silent - blocked) {
            let reply = try raw.receive()
            #expect(reply.status == 0, "\(names[Int(reply.serial)]): \(reply.text)")
        }
    }

    @Test func killedProcessesLeaveNothing() throws {
        let daemon = try DaemonProcess(environment: ["GPUVM_DEVICE_JOB_TIMEOUT": "10min"])
        let observer = try daemon.connect("observer")
        let before = try daemon.counts(observer)
        let whole = try ChildProcess("gpuvmctl", ["demo-client", "--socket", daemon.path])
        let start = Runtime.now()
        #expect(whole.waitForEnd().status == 0)
        let duration = Runtime.now() - start
        let seed: UInt64 = 0x5eed
        var random = SplitMix64(seed: seed)
        for round in 0..<25 {
            let process = try ChildProcess("gpuvmctl", ["demo-client", "--socket", daemon.path])
            let end = Runtime.now() + UInt64.random(in: 0...duration, using: &random)
            while Runtime.now() < end { sched_yield() }
            process.signal(SIGKILL)
            _ = process.waitForEnd()
            let after = try daemon.settle(observer, to: before)
            #expect(after == before, "seed \(seed), round \(round)")
        }
    }
}
