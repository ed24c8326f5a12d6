import Device
import Glibc
import SystemPackage

/// The files by which programs find the device: what /dev/dri and sysfs would say of it.
///
/// The preloaded shim lays them over the machine's own (the format is described in
/// Sources/DRMShim/tree.c). They lie in a directory beside the daemon's socket and go with it.
///
/// Threading: one thread.
struct DeviceTree {
    private let path: String
    /// Minor number of the render node: the first that the machine does not use.
    private let renderMinor: Int
    /// Where the card is said to be: a place that the machine does not have.
    private let slot: String

    /// The directory beside a socket.
    static func path(besideSocket socket: String) -> String { socket + ".tree" }

    /// Writes the tree of `model` to `path`, in place of what may lie there.
    ///
    /// - Throws: The errno of the file system.
    static func write(_ model: NouveauModel, to path: String) throws(Errno) {
        remove(path)
        try DeviceTree(path).write(model)
    }

    private init(_ path: String) {
        self.path = path
        renderMinor =
            (128..<192).first { access("/dev/dri/renderD\($0)", F_OK) != 0 } ?? 128
        let slots = (1..<256).lazy.map { "0000:\(Self.hex(UInt8($0))):00.0" }
        slot = slots.first { access("/sys/bus/pci/devices/\($0)", F_OK) != 0 } ?? "0000:ff:00.0"
    }

    private func write(_ model: NouveauModel) throws(Errno) {
        let node = "renderD\(renderMinor)"
        let card = "sys/devices/pci0000:00/\(slot)"
        try file("dev/dri/\(node)", "char 226:\(renderMinor) 0666\n")
        try link("sys/dev/char/226:\(renderMinor)", to: "../../\(card.dropFirst(4))/drm/\(node)")
        try link("sys/class/drm/\(node)", to: "../../\(card.dropFirst(4))/drm/\(node)")
        try link("sys/bus/pci/devices/\(slot)", to: "../../../\(card.dropFirst(4))")
        let device = Self.hex(model.pciDevice)
        let vendor = Self.hex(model.pciVendor)
        try file("\(card)/vendor", "0x\(vendor)\n")
        try file("\(card)/device", "0x\(device)\n")
        try file("\(card)/subsystem_vendor", "0x\(vendor)\n")
        try file("\(card)/subsystem_device", "0x\(device)\n")
        try file("\(card)/revision", "0x\(Self.hex(model.revision))\n")
        try file("\(card)/class", "0x030000\n")
        try file(
            "\(card)/uevent",
            """
            DRIVER=nouveau
            PCI_CLASS=30000
            PCI_ID=\(vendor.uppercased()):\(device.uppercased())
            PCI_SUBSYS_ID=\(vendor.uppercased()):\(device.uppercased())
            PCI_SLOT_NAME=\(slot)

            """)
        // What programs that list devices (lspci, hwloc, libudev) ask for beside that; no address range
        // of the machine's and no interrupt is the card's.
        try file("\(card)/boot_vga", "0\n")
        try file("\(card)/enable", "1\n")
        try file("\(card)/irq", "0\n")
        try file("\(card)/numa_node", "-1\n")
        try file("\(card)/resource", Self.noResources)
        try file(
            "\(card)/modalias",
            """
            pci:v0000\(vendor.uppercased())d0000\(device.uppercased())\
            sv0000\(vendor.uppercased())sd0000\(device.uppercased())bc03sc00i00

            """)
        try file("\(card)/config", bytes: Self.configurationSpace(model))
        try link("\(card)/subsystem", to: "../../../bus/pci")
        try link("\(card)/driver", to: "../../../bus/pci/drivers/nouveau")
        try file("\(card)/drm/\(node)/dev", "226:\(renderMinor)\n")
        try file(
            "\(card)/drm/\(node)/uevent",
            """
            MAJOR=226
            MINOR=\(renderMinor)
            DEVNAME=dri/\(node)
            DEVTYPE=drm_minor

            """)
        try link("\(card)/drm/\(node)/device", to: "../../../\(slot)")
        try link("\(card)/drm/\(node)/subsystem", to: "../../../../../class/drm")
        // Sticky: nothing of the machine's own shines through below.
        guard chmod("\(path)/\(card)", 0o1755) == 0 else { throw Errno(rawValue: errno) }
    }

    /// The first 64 bytes of PCI configuration space, as libdrm reads them (PCI 3.0, 6.1).
    private static func configurationSpace(_ model: NouveauModel) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 64)
        func set(_ value: UInt16, at offset: Int) {
            bytes[offset] = UInt8(truncatingIfNeeded: value)
            bytes[offset + 1] = UInt8(truncatingIfNeeded: value >> 8)
        }
        set(model.pciVendor, at: 0)
        set(model.pciDevice, at: 2)
        bytes[8] = model.revision
        bytes[11] = 0x03
        set(model.pciVendor, at: 44)
        set(model.pciDevice, at: 46)
        return bytes
    }

    /// Start, end and flags of the six regions, the ROM and the bridge windows: all unused.
    private static let noResources = String(
        repeating: "0x0000000000000000 0x0000000000000000 0x0000000000000000\n", count: 13)

    private static func hex(_ number: some BinaryInteger) -> String {
        let digits = String(number, radix: 16)
        let width = number.bitWidth / 4
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    // MARK: files

    private func file(_ name: String, _ text: String) throws(Errno) {
        try file(name, bytes: Array(text.utf8))
    }

    private func file(_ name: String, bytes: [UInt8]) throws(Errno) {
        try makeParents(of: name)
        let descriptor = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        defer { close(descriptor) }
        // Clients are other users, whatever the daemon's umask is.
        guard fchmod(descriptor, 0o644) == 0 else { throw Errno(rawValue: errno) }
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw Errno(rawValue: errno)
        }
    }

    private func link(_ name: String, to target: String) throws(Errno) {
        try makeParents(of: name)
        guard symlink(target, "\(path)/\(name)") == 0 else { throw Errno(rawValue: errno) }
    }

    private func makeParents(of name: String) throws(Errno) {
        var directory = path
        try Self.make(directory)
        for component in name.split(separator: "/").dropLast() {
            directory += "/\(component)"
            try Self.make(directory)
        }
    }

    private static func make(_ directory: String) throws(Errno) {
        if mkdir(directory, 0o755) == 0 {
            guard chmod(directory, 0o755) == 0 else { throw Errno(rawValue: errno) }
        } else if errno != EEXIST {
            throw Errno(rawValue: errno)
        }
    }

    /// Removes a directory and what is in it, links themselves and not what they name.
    static func remove(_ directory: String) {
        guard let stream = opendir(directory) else { return }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard name != ".", name != ".." else { continue }
            var status = stat()
            let child = "\(directory)/\(name)"
            guard lstat(child, &status) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFDIR { remove(child) } else { unlink(child) }
        }
        closedir(stream)
        rmdir(directory)
    }
}
