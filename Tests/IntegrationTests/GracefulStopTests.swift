import GPUVMClient
import Glibc
import Testing

@testable import GPUVMDaemon

/// What an orderly end of the daemon leaves of its clients' work.
@Suite struct GracefulStopTests {
    @Test func aJobThatRunsMayEndAndItsClientIsTold() throws {
        // Long enough for the slowest machine: the stop must not be what ends the job.
        let daemon = try TestDaemon { $0.device.jobTimeout = 60_000_000_000 }
        let connection = try daemon.connect("busy")
        let bench = try Workbench(connection)
        let size: UInt64 = 16 << 20
        let buffer = try connection.makeBuffer(size: size, name: "target")
        let memory = try buffer.map()
        try bench.vm.bind([.map(buffer, at: 0x1000_0000, range: size)])
        let queue = try bench.vm.makeQueue(.copy)
        let rounds: UInt32 = 16
        let batch = try bench.batch { stream in
            for round in 1...rounds {
                stream.fill(0x1000_0000, bytes: size, pattern: round)
            }
        }
        let fence = try queue.exec([batch], signals: [bench.nextPoint()])
        #expect(try connection.fenceInfo(fence).signaled == 0, "the job is too short for this test")

        daemon.daemon.stop()
        // Whole words of the last round alone, in memory that is the client's own.
        let words = UnsafeRawBufferPointer(memory).bindMemory(to: UInt32.self)
        #expect(words.count == Int(size) / 4)
        #expect(words.allSatisfy { $0 == rounds })
        #expect(throws: ClientError.self) { _ = try connection.status() }
        #expect(throws: ClientError.self) { _ = try daemon.connect("late") }
    }
}
