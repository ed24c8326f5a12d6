import Fencing
import Memory
import Synchronization
import Testing

/// References that keep no buffer.
@Suite struct BufferReferenceTests {
    private func buffer(_ fixture: DeviceFixture) throws -> BufferObject {
        BufferObject(
            name: "x", backing: try SharedMemory(name: "x", bytes: 4096), placement: .system,
            residency: fixture.device.residency)
    }

    @Test func findsTheBufferUntilItGoes() throws {
        let fixture = try DeviceFixture()
        var buffer: BufferObject? = try buffer(fixture)
        let reference = try #require(buffer).reference
        #expect(reference.buffer === buffer)
        #expect(!reference.isOver)
        // What was found keeps it.
        let found = reference.buffer
        buffer = nil
        #expect(reference.buffer === found && found != nil)
        withExtendedLifetime(found) {}
    }

    @Test func findsNothingAfterwards() throws {
        let fixture = try DeviceFixture()
        let reference = try buffer(fixture).reference
        #expect(reference.buffer == nil)
        #expect(reference.isOver)
    }

    @Test(.timeLimit(.minutes(1)))
    func findsAllOfItOrNothingWhileItGoes() throws {
        let fixture = try DeviceFixture()
        for _ in 0..<100 {
            var buffer: BufferObject? = try buffer(fixture)
            let reference = try #require(buffer).reference
            let id = try #require(buffer).id
            let wrong = Atomic<Int>(0)
            let running = Atomic<Int>(0)
            try withThreads(2) {
                running.add(1, ordering: .relaxed)
                while let found = reference.buffer {
                    if found.id != id { wrong.add(1, ordering: .relaxed) }
                }
            } meanwhile: {
                while running.load(ordering: .relaxed) == 0 {}
                buffer = nil
            }
            #expect(wrong.load(ordering: .relaxed) == 0)
            #expect(reference.isOver)
        }
    }

    /// Runs `body` on threads, and `other` here; returns when all have ended.
    private func withThreads(
        _ count: Int, _ body: @escaping @Sendable () -> Void, meanwhile other: () -> Void
    ) throws {
        var threads: [RuntimeThread] = []
        for _ in 0..<count {
            threads.append(try #require(RuntimeThread.start(name: "finder", body)))
        }
        other()
        for thread in threads { thread.join() }
    }
}
