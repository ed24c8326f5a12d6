/// When a rule fires, by the ordinals of the requests that it meets.
///
/// Nothing in it depends on time or threads: the same requests in the same order, and the same
/// schedule, are the same firings.
public struct InjectionSchedule: Sendable, Equatable {
    /// What a probability of 1 is.
    public static let certain: UInt32 = 1_000_000

    /// How often at most; 0: no limit.
    public var count: UInt64 = 1
    /// How many requests pass first.
    public var after: UInt64 = 0
    /// Of those behind them, each one of this number; at least 1.
    public var every: UInt64 = 1
    /// The chance of each of these, in millionths; 1…``certain``.
    public var probability = InjectionSchedule.certain
    /// What the chances are drawn from.
    public var seed: UInt64 = 0

    /// Fires at the first request, once.
    public init() {}

    /// Whether the rule fires at the request with an ordinal, from 0, however often it has; O(1).
    ///
    /// The draw is the ordinal's own output of SplitMix64 (Steele, Lea and Flood, "Fast splittable
    /// pseudorandom number generators", 2014), whose state after n steps is seed + n·γ: requests that
    /// another condition lets pass do not shift the draws of later ones.
    public func fires(at ordinal: UInt64) -> Bool {
        guard ordinal >= after, (ordinal - after) % every == every - 1 else { return false }
        guard probability < Self.certain else { return true }
        var z = seed &+ (ordinal &+ 1) &* 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        z ^= z >> 31
        return z.multipliedFullWidth(by: UInt64(Self.certain)).high < UInt64(probability)
    }
}
