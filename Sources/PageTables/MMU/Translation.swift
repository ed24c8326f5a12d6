/// The outcome of a translation, valid inside the access that asked for it.
public enum Translation {
    /// Host memory, and how many bytes of it (at most the limit asked for) are contiguous from the
    /// address on.
    case memory(UnsafeMutableRawPointer, UInt64)
    /// That many bytes read zero and drop writes.
    case null(UInt64)
    /// No translation.
    case fault(Fault)
}
