import Fencing
import Glibc

extension NouveauFile {
    /// DRM_IOCTL_VERSION: {major@0, minor@4, patch@8, name len@16 ptr@24, date 32/40, desc 48/56}.
    ///
    /// A string goes into its buffer as far as that reaches, and its whole length is returned.
    func version(_ frame: inout IoctlFrame) {
        frame.write(Int32(1), at: 0)
        frame.write(Int32(4), at: 4)
        frame.write(Int32(1), at: 8)
        // Since 6.14 no driver has a date.
        let strings = [
            (16, "nouveau"), (32, "0"),
            (48, "nVidia Riva/TNT/GeForce/Quadro/Tesla/Tegra K1+"),
        ]
        for (offset, text) in strings {
            let room = frame.read(offset, as: UInt64.self)
            if let block = frame.call.output(at: offset + 8), var bytes = frame.outputs[block] {
                let count = min(Int(clamping: room), bytes.count)
                bytes.write(text, at: 0, capacity: count + 1)
                frame.outputs[block] = bytes
            }
            frame.write(UInt64(text.utf8.count), at: offset)
        }
    }

    /// DRM_IOCTL_GET_CAP: {capability u64@0, value u64@8}. The device sets no modes, so what only a
    /// mode-setting driver has is EOPNOTSUPP.
    ///
    /// Source: drm_getcap (drivers/gpu/drm/drm_ioctl.c).
    func getCap(_ frame: inout IoctlFrame) throws(IoctlError) {
        let capability: UInt64 = frame.read(0)
        switch capability {
        // PRIME: import and export.
        case 0x5: frame.write(UInt64(3), at: 8)
        // TIMESTAMP_MONOTONIC, SYNCOBJ, SYNCOBJ_TIMELINE.
        case 0x6, 0x13, 0x14: frame.write(UInt64(1), at: 8)
        default:
            frame.write(UInt64(0), at: 8)
            throw IoctlError(EOPNOTSUPP, "capability \(capability) is of drivers that set modes")
        }
    }

    /// DRM_IOCTL_NOUVEAU_GETPARAM: {param u64@0, value u64@8}.
    func getParam(_ frame: inout IoctlFrame) throws(IoctlError) {
        let device = shared.device
        let model = shared.model
        let parameter: UInt64 = frame.read(0)
        let value: UInt64
        switch parameter {
        case 3: value = UInt64(model.pciVendor)
        case 4: value = UInt64(model.pciDevice)
        // PCI Express.
        case 5: value = 2
        case 8: value = device.memory.vramBytes
        case 9: value = device.memory.system.bytes
        case 11: value = UInt64(model.chipset)
        case 12: value = 0
        case 13: value = UInt64(model.gpcs) | UInt64(model.tpcs) << 8
        case 14: value = Runtime.now()
        case 15, 16: value = 1
        case 17: value = UInt64(Self.maximumPushes)
        case 18: value = shared.barBytes
        case 19: value = shared.vramUsed
        case 20: value = 1
        default: throw .invalid("there is no parameter \(parameter)")
        }
        frame.write(value, at: 8)
    }
}
