import Engines

/// A GPU to be taken for: what the nouveau driver says of it.
///
/// Source: NVIDIA's public class headers; nvkm/engine/device/base.c.
public struct NouveauModel: Sendable, Equatable {
    /// As `--device` takes it: "tu104".
    public var key: String
    /// The chip, as NVIF INFO says it: "TU104".
    public var chip: String
    /// The board's name.
    public var name: String
    /// PMC_BOOT_0's chipset number.
    public var chipset: UInt16
    /// The chip's revision.
    public var revision: UInt8
    /// NV_DEVICE_INFO_V0_*.
    public var family: UInt8
    /// The PCI vendor: NVIDIA.
    public var pciVendor: UInt16 = 0x10de
    /// The PCI device.
    public var pciDevice: UInt16
    /// How many graphics processing clusters it has.
    public var gpcs: UInt8
    /// How many texture processing clusters are in all of them.
    public var tpcs: UInt8
    /// The classes of its channels.
    public var classes: NVIDIAClasses

    /// Turing: the oldest generation that NVK takes unasked.
    public static let tu104 = NouveauModel(
        key: "tu104", chip: "TU104", name: "NVIDIA GeForce RTX 2080", chipset: 0x164,
        revision: 0xa1, family: 0x0c, pciDevice: 0x1e82, gpcs: 6, tpcs: 23, classes: .tu104)

    /// Ada.
    public static let ad104 = NouveauModel(
        key: "ad104", chip: "AD104", name: "NVIDIA GeForce RTX 4070 Ti", chipset: 0x194,
        revision: 0xa1, family: 0x0e, pciDevice: 0x2782, gpcs: 5, tpcs: 30, classes: .ad104)

    /// All of them.
    public static let all = [tu104, ad104]

    /// What SCLASS lists for a channel: the copy class alone on a copy engine's.
    func listedClasses(isCopyEngine: Bool) -> [Int32] {
        let listed =
            isCopyEngine
            ? [classes.copy]
            : [
                classes.twoD, classes.inlineToMemory, classes.threeD, classes.compute,
                classes.copy,
            ]
        return listed.map { Int32($0) }
    }

    /// Whether memory may have a PTE kind: 16 of them, of which 7 is no kind.
    ///
    /// Source: the kind table of nvkm/subdev/mmu/tu102.c.
    func isValid(kind: UInt8) -> Bool { kind < 16 && kind != 7 }
}
