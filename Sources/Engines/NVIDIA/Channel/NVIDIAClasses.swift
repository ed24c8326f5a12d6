/// The classes of objects that the channels of one chipset know.
///
/// A class is an engine's interface: a set of methods. Its number's low byte says which engine
/// (b5 copy, 97 3D, c0 compute, 2d 2D, 40 inline-to-memory, 6f host), the rest the generation.
///
/// Source: NVIDIA open-gpu-doc, `classes/`.
public struct NVIDIAClasses: Equatable, Sendable {
    /// The GPFIFO itself, whose methods every subchannel has.
    public var host: UInt16
    /// 2D blits.
    public var twoD: UInt16
    /// Data out of the push buffer into memory.
    public var inlineToMemory: UInt16
    /// Graphics.
    public var threeD: UInt16
    /// Compute.
    public var compute: UInt16
    /// The copy engine.
    public var copy: UInt16

    /// Turing.
    public static let tu104 = NVIDIAClasses(
        host: 0xc46f, twoD: 0x902d, inlineToMemory: 0xa140, threeD: 0xc597, compute: 0xc5c0,
        copy: 0xc5b5)
    /// Ada.
    public static let ad104 = NVIDIAClasses(
        host: 0xc76f, twoD: 0x902d, inlineToMemory: 0xa140, threeD: 0xc997, compute: 0xc9c0,
        copy: 0xc7b5)

    /// Lists the classes of a chipset.
    public init(
        host: UInt16, twoD: UInt16, inlineToMemory: UInt16, threeD: UInt16, compute: UInt16,
        copy: UInt16
    ) {
        self.host = host
        self.twoD = twoD
        self.inlineToMemory = inlineToMemory
        self.threeD = threeD
        self.compute = compute
        self.copy = copy
    }

    /// Looks a chipset up by the number that nouveau reports, for example 0x164 for TU104; nil for
    /// one that the engine has no classes of.
    public init?(chipset: UInt16) {
        switch chipset {
        case 0x160..<0x16a: self = .tu104
        case 0x190..<0x198: self = .ad104
        default: return nil
        }
    }

    /// All of them, the host's first.
    public var all: [UInt16] { [host, twoD, inlineToMemory, threeD, compute, copy] }

    /// The number of a kind's class.
    public subscript(kind: NVIDIAClassKind) -> UInt16 {
        switch kind {
        case .host: host
        case .twoD: twoD
        case .inlineToMemory: inlineToMemory
        case .threeD: threeD
        case .compute: compute
        case .copy: copy
        }
    }

    /// What an object of a class is; nil for a class that cannot be bound to a subchannel.
    func kind(of classID: UInt16) -> NVIDIAClassKind? {
        switch classID {
        case twoD: .twoD
        case inlineToMemory: .inlineToMemory
        case threeD: .threeD
        case compute: .compute
        case copy: .copy
        default: nil
        }
    }
}
