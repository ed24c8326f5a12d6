import Glibc
import Testing

@testable import Fencing

// @unchecked: on purpose; see below.
/// A word that two threads increment without any synchronisation. Plain memory, because the
/// sanitizer calls a race on it a data race (on a property it speaks of a Swift access race).
private final class Unguarded: @unchecked Sendable {
    let word = UnsafeMutablePointer<Int>.allocate(capacity: 1)

    init() { word.initialize(to: 0) }
    deinit { word.deallocate() }
}

/// A race that the thread sanitizer must report: its silence elsewhere is worth something only then.
@Suite struct PlantedRaceTests {
    @Test(.enabled(if: getenv("GPUVM_EXPECT_RACE") != nil, "only to try the thread sanitizer"))
    func twoThreadsIncrementWithoutALock() {
        let unguarded = Unguarded()
        let threads = (0..<2).map { index in
            RuntimeThread.start(name: "racer \(index)") {
                for _ in 0..<10_000 { unguarded.word.pointee = unguarded.word.pointee &+ 1 }
            }
        }
        for thread in threads { thread?.join() }
        // A race loses increments; it never makes any up.
        #expect((1...20_000).contains(unguarded.word.pointee))
    }
}
