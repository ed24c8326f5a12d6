import TestSupport

extension SplitMix64 {
    mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }

    mutating func chance(_ percent: UInt64) -> Bool { below(100) < percent }
}
