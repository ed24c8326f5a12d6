import Device
import TestSupport
import Testing

/// At which of the requests that it meets a rule fires.
@Suite("Injection schedules")
struct InjectionScheduleTests {
    private func ordinals(_ schedule: InjectionSchedule, below end: UInt64) -> [UInt64] {
        (0..<end).filter { schedule.fires(at: $0) }
    }

    @Test("after lets the first ones pass, every counts those behind them")
    func counted() {
        var schedule = InjectionSchedule()
        #expect(ordinals(schedule, below: 4) == [0, 1, 2, 3])
        schedule.after = 3
        #expect(ordinals(schedule, below: 6) == [3, 4, 5])
        schedule.every = 4
        #expect(ordinals(schedule, below: 16) == [6, 10, 14])
        schedule.after = 0
        #expect(ordinals(schedule, below: 12) == [3, 7, 11])
        schedule.after = .max
        schedule.every = 1
        #expect(schedule.fires(at: .max))
        #expect(!schedule.fires(at: .max - 1))
    }

    /// The generator step by step, in the order of the requests, and exact arithmetic of 128 bits.
    @Test(
        "Draws are those of the generator, one for each request", arguments: [1, 7, 1 << 63, .max])
    func drawn(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var schedule = InjectionSchedule()
        schedule.seed = seed
        var fired = 0
        for ordinal in UInt64(0)..<4000 {
            let draw = UInt128(random.next())
            for (millionths, after, every) in [
                (UInt32(1), UInt64(0), UInt64(1)), (250_000, 0, 1), (500_000, 100, 3),
                (999_999, 0, 2), (1_000_000, 5, 1),
            ] {
                schedule.probability = millionths
                schedule.after = after
                schedule.every = every
                let isDrawn = draw * 1_000_000 < UInt128(millionths) << 64
                let isCounted = ordinal >= after && (ordinal - after + 1) % every == 0
                #expect(
                    schedule.fires(at: ordinal) == (isDrawn && isCounted),
                    "seed \(seed), ordinal \(ordinal), \(millionths), \(after), \(every)")
                if millionths == 250_000 && isDrawn { fired += 1 }
            }
        }
        // Six standard deviations about a quarter.
        #expect((836...1164).contains(fired), "seed \(seed): \(fired) of 4000")
    }

    @Test("What makes no sense is refused, and says why")
    func refused() throws {
        let fixture = try DeviceFixture()
        func why(_ kind: InjectionKind, _ change: (inout InjectionRule) -> Void) -> String {
            var rule = InjectionRule(kind)
            change(&rule)
            do throws(DeviceError) {
                _ = try fixture.client.inject(rule)
                return "accepted"
            } catch {
                return error.errno == 22 ? error.description : "errno \(error.errno)"
            }
        }
        #expect(why(.hang) { $0.operations = .bind }.contains("hang at vm-bind"))
        #expect(why(.hang) { $0.schedule.every = 0 }.contains("every 0th"))
        #expect(why(.hang) { $0.schedule.probability = 0 }.contains("1…1000000"))
        #expect(why(.hang) { $0.schedule.probability = 1_000_001 }.contains("1…1000000"))
        #expect(why(.hang) { $0.isNow = true }.contains("cannot be now"))
        #expect(why(.hang) { $0.duration = 1 }.contains("a duration is a delay's"))
        #expect(why(.hang) { $0.address = 0 }.contains("an address and an access are a fault's"))
        #expect(why(.eviction) { ($0.isNow, $0.schedule.after) = (true, 1) }.contains("no request"))
        #expect(why(.delay) { _ in }.contains("a delay of 0 ns"))
        #expect(why(.delay) { $0.duration = 600_000_000_001 }.contains("10 min"))
        #expect(
            why(.delay) { ($0.duration, $0.delaysSignal, $0.operations) = (1, true, .bind) }
                .contains("a bind starts late"))
        #expect(
            why(.shortage) { ($0.operations, $0.target.vm) = (.bufferCreate, 1) }
                .contains("oom at gem-new"))
        #expect(
            why(.shortage) { ($0.operations, $0.target.queue) = (.queueCreate, 1) }
                .contains("oom at channel-alloc"))
        #expect(fixture.device.injector.rules.isEmpty)
    }

    @Test("Rules have a limit; those that have had their times make room")
    func limit() throws {
        let fixture = try DeviceFixture()
        let client = fixture.client
        var rule = InjectionRule(.shortage)
        rule.operations = .map
        let ids = try (0..<64).map { _ in try client.inject(rule).id }
        #expect(ids == Array(1...64))
        #expect(throws: DeviceError.self) { try client.inject(rule) }
        #expect(try client.removeInjections(7) == 1)
        #expect(try client.inject(rule).id == 65, "an id is never used again")
        #expect(throws: DeviceError.self) { try client.removeInjections(7) }
        // A rule that is now is spent at once, and the next one takes its place.
        #expect(try client.removeInjections(8) == 1)
        var now = InjectionRule(.eviction)
        now.isNow = true
        #expect(try client.inject(now).id == 66)
        #expect(try client.inject(rule).id == 67)
        #expect(!fixture.device.injector.rules.contains { $0.id == 66 })
        #expect(try client.removeInjections() == 64)
        #expect(fixture.device.injector.rules.isEmpty)
    }
}
