import Glibc

/// An object that a client made through NVIF.
enum NVIFObject: Sendable, Equatable {
    case device
    /// A class's object on a channel.
    case engine(channel: Int32, Int32)
}

// Source: nouveau_abi16_ioctl and what it calls (drivers/gpu/drm/nouveau/nouveau_abi16.c), struct
// nvif_ioctl_v0 (include/nvif/ioctl.h): version@0, type@1, owner@6, route@7, token@8, object@16,
// then the type's own struct at 24.
extension NouveauFile {
    private static let header = 24
    private static let deviceClass: Int32 = 0x80
    private static let newBytes = 32
    private static let methodBytes = 8
    private static let infoBytes = 104
    private static let classListBytes = 8
    private static let classBytes = 8

    /// The one call whose argument is as long as the program says, and is only written on success.
    func nvif(_ frame: inout IoctlFrame) throws(IoctlError) {
        let before = frame.argument
        // Not drm_ioctl's: it copies in and out whatever the request says.
        frame.argument = frame.call.argument
        frame.isWrittenBack = true
        do throws(IoctlError) {
            try nvifCall(&frame)
        } catch {
            frame.argument = before
            frame.isWrittenBack = false
            throw error
        }
    }

    private func nvifCall(_ frame: inout IoctlFrame) throws(IoctlError) {
        guard frame.argument.count >= Self.header else {
            throw .invalid("an NVIF call has at least 24 bytes")
        }
        let route: UInt8 = frame.read(7)
        guard frame.read(0, as: UInt8.self) == 0, route == 0 || route == 0xff else {
            throw .invalid("NVIF version or route")
        }
        let rest = frame.argument.count - Self.header
        switch frame.read(1, as: UInt8.self) {
        case 1: try listClasses(&frame, hasRoute: route != 0, bytes: rest)
        case 2: try makeObject(frame, hasRoute: route != 0, bytes: rest)
        case 3:
            guard route == 0, rest == 0 else { throw .invalid("NVIF DEL has no data") }
            let object: UInt64 = frame.read(16)
            state.withLock { _ = $0.objects.removeValue(forKey: object) }
        case 4: try callMethod(&frame, hasRoute: route != 0, bytes: rest)
        default: throw .invalid("there is no such NVIF call")
        }
    }

    private func channelOfToken(_ frame: IoctlFrame) throws(IoctlError) -> NouveauChannel {
        // The kernel's look-up takes an int.
        let id = Int32(truncatingIfNeeded: frame.read(8, as: UInt64.self))
        guard let channel = state.withLock({ $0.channels[id] }) else {
            throw .invalid("the token names no channel")
        }
        return channel
    }

    /// SCLASS: {version@24, count@25, entries {class s32, minver s16, maxver s16}@32}.
    private func listClasses(
        _ frame: inout IoctlFrame, hasRoute: Bool, bytes: Int
    ) throws(IoctlError) {
        let room = Int(frame.read(25, as: UInt8.self))
        guard hasRoute, bytes >= Self.classListBytes,
            bytes - Self.classListBytes == room * Self.classBytes
        else { throw .invalid("an NVIF class list of another size") }
        let classes = try channelOfToken(frame).classes
        for (index, number) in classes.prefix(room).enumerated() {
            let offset = Self.header + Self.classListBytes + index * Self.classBytes
            frame.write(number, at: offset)
            frame.write(Int16(-1), at: offset + 4)
            frame.write(Int16(-1), at: offset + 6)
        }
        frame.write(UInt8(classes.count), at: 25)
    }

    /// NEW: {version@24, route@31, token@32, object@40, handle@48, class s32@52}.
    private func makeObject(
        _ frame: IoctlFrame, hasRoute: Bool, bytes: Int
    ) throws(IoctlError) {
        guard bytes >= Self.newBytes, frame.read(24, as: UInt8.self) == 0 else {
            throw .invalid("an NVIF object of another layout")
        }
        let number: Int32 = frame.read(52)
        let object: NVIFObject
        if hasRoute {
            let channel = try channelOfToken(frame)
            guard channel.classes.contains(number) else {
                throw .invalid("the channel has no such class")
            }
            object = .engine(channel: channel.id, number)
        } else {
            guard frame.read(16, as: UInt64.self) == 0, number == Self.deviceClass else {
                throw .invalid("only a device is made without a channel")
            }
            object = .device
        }
        let name: UInt64 = frame.read(40)
        try state.withLock { state throws(IoctlError) in
            guard state.objects[name] == nil else {
                throw IoctlError(EEXIST, "there is an NVIF object of that name")
            }
            guard state.objects.count < Self.maximumObjects else {
                throw IoctlError(ENOMEM, "the file has \(Self.maximumObjects) NVIF objects")
            }
            state.objects[name] = object
        }
    }

    /// The most NVIF objects of a file: a client needs some six a channel.
    private static var maximumObjects: Int { 65_536 }

    /// MTHD: {version@24, method@25, data@32}; of a device, INFO: {version@32, platform@33,
    /// chipset u16@34, revision@36, family@37, ram_size@40, ram_user@48, chip[16]@56, name[64]@72}.
    private func callMethod(
        _ frame: inout IoctlFrame, hasRoute: Bool, bytes: Int
    ) throws(IoctlError) {
        let object: UInt64 = frame.read(16)
        guard !hasRoute, bytes >= Self.methodBytes,
            state.withLock({ $0.objects[object] }) == .device
        else { throw .invalid("the NVIF object has no methods") }
        guard frame.read(25, as: UInt8.self) == 0, bytes - Self.methodBytes == Self.infoBytes,
            frame.read(32, as: UInt8.self) == 0
        else { throw .invalid("a device has the method INFO only") }
        let model = shared.model
        let memory = shared.device.memory.vramBytes
        var info = IoctlBytes(
            Array(frame.argument.bytes.prefix(Self.header + Self.methodBytes)))
        info.append(zeros: Self.infoBytes)
        info.write(UInt8(3), at: 33)
        info.write(model.chipset, at: 34)
        info.write(model.revision, at: 36)
        info.write(model.family, at: 37)
        info.write(memory, at: 40)
        info.write(memory, at: 48)
        info.write(model.chip, at: 56, capacity: 16)
        info.write(model.name, at: 72, capacity: 64)
        frame.argument = info
    }
}
