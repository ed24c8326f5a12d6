/// The kind of memory that a buffer's frames are taken from.
public enum Placement: UInt32, Sendable, CaseIterable {
    /// System memory (the kernel's TTM_PL_SYSTEM or TT).
    case system = 0
    /// Memory of the device (TTM_PL_VRAM).
    case vram = 1
}
