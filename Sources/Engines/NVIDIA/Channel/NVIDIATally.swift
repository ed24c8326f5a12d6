/// What a context has done and not yet added to its engine's counters.
struct NVIDIATally {
    /// By ``NVIDIAClassKind``.
    var methods = SIMD8<UInt64>()
    var copiedBytes: UInt64 = 0
    var inlineBytes: UInt64 = 0
    var launches: UInt64 = 0
    var releases: UInt64 = 0
    var refusals: UInt64 = 0
    var hazards: UInt64 = 0
}
