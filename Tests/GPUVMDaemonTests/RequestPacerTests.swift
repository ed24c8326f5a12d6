import Testing

@testable import GPUVMDaemon

/// How fast clients may ask and connect; all times are computed by hand.
@Suite struct RequestPacerTests {
    private let millisecond: UInt64 = 1_000_000
    private let second: UInt64 = 1_000_000_000

    @Test func aBurstIsFreeAndTheRestGoesByTheSecond() {
        // 1000 in a second are one in a millisecond; ten may come at once.
        let pacer = RequestPacer(
            requestsPerSecond: 1000, burst: 10, share: RequestShare(requestsPerSecond: 1_000_000))
        let now = 5 * second
        for _ in 0..<10 { #expect(pacer.take(at: now) == 0) }
        #expect(pacer.take(at: now) == millisecond)
        #expect(pacer.take(at: now) == 2 * millisecond)
        // Who waits as told, and asks once more, waits for that one.
        #expect(pacer.take(at: now + 2 * millisecond) == millisecond)
        // After ten milliseconds more than owed the bucket is full, and not fuller.
        let later = now + 60 * second
        for _ in 0..<10 { #expect(pacer.take(at: later) == 0) }
        #expect(pacer.take(3, at: later) == 3 * millisecond)
    }

    @Test func whatIsLessThanAMillisecondIsOwed() {
        let pacer = RequestPacer(
            requestsPerSecond: 4000, burst: 1, share: RequestShare(requestsPerSecond: 1_000_000))
        let now = second
        // 0.25 ms each, of which one is the bucket's.
        for _ in 0..<4 { #expect(pacer.take(at: now) == 0) }
        #expect(pacer.take(at: now) == millisecond)
    }

    @Test(arguments: [
        (0, false, 1), (16, false, 1), (4095, false, 1), (4096, false, 2), (65_536, false, 17),
        (16 << 20, false, 4097), (16, true, 10), (4096, true, 11),
    ])
    func longOnesAndRefusedOnesCountForMore(_ bytes: Int, _ wasRefused: Bool, _ weight: Int) {
        #expect(RequestPacer.weight(bytes: bytes, wasRefused: wasRefused) == weight)
    }

    /// Four clients of 400,000 in a second: 20,000 in a window, and a 400th of it, 50, is busy.
    @Test func theBusyShareWhatAllMayAskFor() {
        let share = RequestShare(requestsPerSecond: 400_000)
        let pacers = (0..<5).map { _ in
            RequestPacer(requestsPerSecond: 1_000_000, burst: 10, share: share)
        }
        let start = 100 * RequestShare.window
        for _ in 0..<50 {
            for pacer in pacers[..<4] { #expect(pacer.take(at: start) == 0) }
        }
        // The next window: a quarter of 400,000 each, one in 10 us. Ten of 1 us are the bucket's: so
        // the 101st owes 1.01 ms less 0.01 ms.
        let next = start + RequestShare.window
        for _ in 0..<100 { #expect(pacers[0].take(at: next) == 0) }
        #expect(pacers[0].take(at: next) == millisecond)
        // Who asks for less than his share waits for nothing.
        for index in 0..<40 {
            #expect(pacers[4].take(at: next + UInt64(index) * 10_000) == 0)
        }
        // A window in which nobody was busy lies between: whoever comes now has all of it, one in
        // 2.5 us, and owes 1 ms with the 404th.
        let quiet = next + 2 * RequestShare.window
        for _ in 0..<403 { #expect(pacers[1].take(at: quiet) == 0) }
        #expect(pacers[1].take(at: quiet) == millisecond)
    }

    @Test func aClientThatIsAloneIsNotCountedTwice() {
        let share = RequestShare(requestsPerSecond: 400_000)
        let pacer = RequestPacer(requestsPerSecond: 1_000_000, burst: 1, share: share)
        for window in 100..<110 as Range<UInt64> {
            for _ in 0..<60 { _ = pacer.take(at: window * RequestShare.window) }
            #expect(share.interval(in: window) == 2500)
        }
    }

    @Test func usersConnectAsFastAsTheyMay() {
        let pacer = ConnectionPacer()
        let now = 10 * second
        // 200 at once, then 100 in a second; more than a second's wait is too long.
        for _ in 0..<200 { #expect(pacer.take(1000, at: now) == 0) }
        for index in 1...100 as ClosedRange<UInt64> {
            #expect(pacer.take(1000, at: now) == index * 10 * millisecond)
        }
        #expect(pacer.take(1000, at: now) == nil)
        // Those that were refused are not counted, and other users do not suffer.
        #expect(pacer.take(1000, at: now) == nil)
        #expect(pacer.take(1001, at: now) == 0)
        #expect(pacer.take(1000, at: now + 10 * millisecond) == second)
        // After a pause all is as in the beginning.
        for _ in 0..<200 { #expect(pacer.take(1000, at: now + 10 * second) == 0) }
        #expect(pacer.take(1000, at: now + 10 * second) == 10 * millisecond)
    }

    @Test func manyUsersAreForgotten() {
        let pacer = ConnectionPacer()
        for user in 0..<3000 as Range<UInt32> {
            #expect(pacer.take(user, at: UInt64(user + 1) * second) == 0)
        }
    }
}
