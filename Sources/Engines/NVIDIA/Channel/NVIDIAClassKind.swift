/// The engine behind a class, whatever its generation.
public enum NVIDIAClassKind: Int, CaseIterable, Sendable {
    /// The GPFIFO.
    case host
    /// Graphics.
    case threeD
    /// Compute.
    case compute
    /// Data out of the push buffer into memory.
    case inlineToMemory
    /// 2D blits.
    case twoD
    /// The copy engine.
    case copy

    /// How many there are.
    static let count = 6
}
