/// The request number of an ioctl, taken apart.
///
/// Source: include/uapi/asm-generic/ioctl.h. Clients disagree on size and direction of one call, so
/// what is asked for is decided by ``number`` alone, as drm_ioctl (drivers/gpu/drm/drm_ioctl.c) does.
public struct IoctlRequest: Sendable, Equatable {
    /// The 32 bits as the program gave them.
    public let rawValue: UInt32

    /// Takes a request apart; any number is one.
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }

    /// `_IOC_NR`.
    public var number: UInt8 { UInt8(truncatingIfNeeded: rawValue) }
    /// `_IOC_TYPE`; 0x64, "d", for DRM.
    public var type: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 8) }
    /// `_IOC_SIZE`: bytes of the argument, 0…16383.
    public var size: Int { Int(rawValue >> 16 & 0x3fff) }
    /// Whether the kernel reads the argument (`_IOC_WRITE`).
    public var isRead: Bool { rawValue & 1 << 30 != 0 }
    /// Whether the kernel writes the argument back (`_IOC_READ`).
    public var isWrittenBack: Bool { rawValue & 1 << 31 != 0 }

    /// Whether it is an ioctl of a DRM node, by its type.
    public var isDRM: Bool { type == Self.drmType }

    static let drmType: UInt8 = 0x64
    /// The first number of a driver's own calls.
    static let driverBase: UInt8 = 0x40
    /// The first number after them.
    static let driverEnd: UInt8 = 0xa0
}
