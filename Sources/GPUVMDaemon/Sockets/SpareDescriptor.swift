import Glibc
import WireProtocol

/// A descriptor held for nothing but to be given up when the process has no other left.
struct SpareDescriptor: ~Copyable {
    private var fd: OwnedFD?

    init() {
        fd = nil
        hold()
    }

    /// Whether there is one.
    var isHeld: Bool { fd != nil }

    /// Gets one back, if the process has one left.
    mutating func hold() {
        guard fd == nil else { return }
        let new = open("/dev/null", O_RDONLY | O_CLOEXEC)
        if new >= 0 { fd = OwnedFD(new) }
    }

    /// Gives it up.
    mutating func release() { fd = nil }
}
