/// A missing barrier: two launches of the copy class that reach the same bytes, at least one of them
/// to write, and nothing between them that orders them.
public struct CopyHazard: Equatable, Sendable {
    /// What the earlier and the later launch do with the bytes.
    public enum Kind: String, Equatable, Sendable {
        /// The later one reads what the earlier one writes.
        case readAfterWrite = "read after write"
        /// Both write.
        case writeAfterWrite = "write after write"
        /// The later one writes what the earlier one reads.
        case writeAfterRead = "write after read"
    }

    /// Which of the three.
    public var kind: Kind
    /// The GPU VA of the first byte that both reach.
    public var address: UInt64
    /// How many bytes from there on both reach without a gap, at least 1.
    public var bytes: UInt64
    /// The GPU VA of the earlier launch's method header; of a run of launches that continue each
    /// other it is the first.
    public var earlier: UInt64
    /// Whether both launches are of the non-pipelined kind, which this hardware carries out in
    /// order: the program got what it wanted here, and need not elsewhere.
    public var isOrdered: Bool
    /// Whether launches had to be forgotten in this job, so that there may be more than was found.
    public var isIncomplete: Bool
}

extension CopyHazard: CustomStringConvertible {
    /// What is missing, as a clause.
    public var description: String {
        let deeds =
            switch kind {
            case .readAfterWrite: ("reads", "writes")
            case .writeAfterWrite: ("writes", "writes, too")
            case .writeAfterRead: ("writes", "reads")
            }
        let consequence = isOrdered ? "only this hardware's order saves it" : "they may overlap"
        let rest = isIncomplete ? "; not all launches of the job were compared" : ""
        return """
            missing barrier (\(kind.rawValue)): the launch \(deeds.0) \
            0x\(String(address, radix: 16))+0x\(String(bytes, radix: 16)), which the launch at \
            0x\(String(earlier, radix: 16)) \(deeds.1), and nothing orders them: \(consequence)\(rest)
            """
    }
}
