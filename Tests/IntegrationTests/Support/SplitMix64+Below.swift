import TestSupport

extension SplitMix64 {
    /// A number in 0..<`bound`.
    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
}
