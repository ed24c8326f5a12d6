/// Which methods are not carried out.
///
/// A register is kept and costs nothing; a method that draws, dispatches or writes memory in a way
/// that this engine does not perform ends the job, so that nobody takes it for done.
enum MethodRules {
    /// Whether a method of an object's class ends the job.
    static func isRefused(_ kind: NVIDIAClassKind, _ method: UInt32) -> Bool {
        switch kind {
        case .host: false
        case .threeD: isRefusedBy3D(method)
        case .compute: isRefusedByCompute(method)
        case .inlineToMemory: method == 0x10c
        case .twoD: isRefusedBy2D(method)
        case .copy: !isKnownToCopy(method)
        }
    }

    /// Draws, clears, copies by the back end, and the macro processor's own memory accesses.
    private static func isRefusedBy3D(_ method: UInt32) -> Bool {
        switch method {
        case 0x10c, 0x12c, 0x26c, 0x274, 0x55c, 0x560, 0x564, 0x568, 0xd78, 0x1214, 0x1218, 0x123c,
            0x1264...0x1274, 0x15e8, 0x15f0, 0x1614, 0x1618, 0x17e0...0x17f8, 0x19d0:
            true
        default: false
        }
    }

    /// Launches of a grid, whether its description is in memory or in the push buffer.
    private static func isRefusedByCompute(_ method: UInt32) -> Bool {
        switch method {
        case 0x10c, 0x2b8, 0x2bc, 0x2c0, 0x320..<0x420: true
        default: false
        }
    }

    /// Primitives and blits, and macros, which this class shares with the 3D class.
    private static func isRefusedBy2D(_ method: UInt32) -> Bool {
        switch method {
        case 0x10c, 0x114...0x120, 0x55c, 0x560, 0x564, 0x568, 0x5e0, 0x860, 0x8dc, 0x3800...: true
        case 0x600..<0x800: method & 4 != 0
        default: false
        }
    }

    /// The copy class is small enough to be known whole.
    private static func isKnownToCopy(_ method: UInt32) -> Bool {
        switch method {
        case 0x100, 0x140, 0x240...0x24c, 0x254...0x264, 0x280...0x28c, 0x300, 0x400...0x41c,
            0x700...0x720, 0x728...0x73c, 0x744...0x750, 0x1114:
            true
        default: false
        }
    }
}
