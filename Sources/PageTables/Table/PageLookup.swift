/// What a walk ended at.
public enum PageLookup: Equatable, Sendable {
    /// A leaf.
    case leaf(PageTableLeaf)
    /// No leaf.
    case fault(FaultReason)
}
