import CPlatform
import Testing

@testable import Fencing

#if DEBUG
    @Suite struct LockOrderTests {
        @Test func reversedOrderDies() async {
            let result = await #expect(
                processExitsWith: .failure, observing: [\.standardErrorContent]
            ) {
                let outer = Lock(.vm)
                let inner = Lock(.fence)
                inner.withLock { outer.withLock {} }
            }
            #expect(says("lock order violated: class vm", result))
        }

        @Test func rightOrderLives() async {
            await #expect(processExitsWith: .success) {
                let outer = Lock(.vm)
                let inner = Lock(.fence)
                outer.withLock { inner.withLock {} }
                inner.withLock {}
                outer.withLock {}
            }
        }

        @Test func twoLocksOfOneClassDie() async {
            await #expect(processExitsWith: .failure) {
                let one = Lock(.syncobj)
                let other = Lock(.syncobj)
                one.withLock { other.withLock {} }
            }
        }

        @Test func unsafeLockInsideASignallingSectionDies() async {
            let result = await #expect(
                processExitsWith: .failure, observing: [\.standardErrorContent]
            ) {
                let vm = Lock(.vm)
                SignallingSection.run { vm.withLock {} }
            }
            #expect(says("class vm taken inside a fence-signalling section", result))
        }

        @Test func safeLockInsideASignallingSectionLives() async {
            await #expect(processExitsWith: .success) {
                let fence = Lock(.fence)
                SignallingSection.run { fence.withLock {} }
            }
        }

        @Test func aFenceCallbackIsASignallingSection() async {
            await #expect(processExitsWith: .failure) {
                let fence = makeFence()
                _ = fence.addCallback(TakesVMLock())
                fence.signal()
            }
        }

        @Test func waitingForAFenceInsideASignallingSectionDies() async {
            await #expect(processExitsWith: .failure) {
                let fence = makeFence()
                SignallingSection.run { _ = fence.wait(deadline: 1) }
            }
        }

        @Test func releasingWhatIsNotHeldDies() async {
            await #expect(processExitsWith: .failure) {
                Lock(.vm).unlock()
            }
        }

        private func says(_ text: String, _ result: ExitTest.Result?) -> Bool {
            String(decoding: result?.standardErrorContent ?? [], as: UTF8.self).contains(text)
        }
    }

    // @unchecked: the lock is immutable.
    private final class TakesVMLock: FenceCallback, @unchecked Sendable {
        let vm = Lock(.vm)
        override func fenceSignalled(_ fence: Fence) { vm.withLock {} }
    }
#endif
