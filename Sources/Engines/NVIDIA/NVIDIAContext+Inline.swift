/// Uploads of data out of the push buffer: the inline-to-memory class, whose methods the 3D and
/// compute classes have as well.
///
/// Source: NVIDIA open-gpu-doc, `cla140.h`.
extension NVIDIAContext {
    func performInline(
        _ kind: NVIDIAClassKind, _ method: UInt32, _ value: UInt32
    ) throws(EngineFailure) -> Progress {
        channel.setRegister(kind, method, value)
        switch method {
        case 0x1b0: try launchUpload(kind, value)
        case 0x1b4: try loadInlineData(kind, value)
        default: break
        }
        return .done
    }

    private func launchUpload(_ kind: NVIDIAClassKind, _ value: UInt32) throws(EngineFailure) {
        // Reductions are not carried out.
        guard value & 2 == 0, value >> 4 & 3 != 3 else { throw refuse(.unsupportedValue) }
        var surface = Surface(address: channel.address(kind, 0x188))
        surface.pitch = UInt64(channel.register(kind, 0x190))
        if value & 1 == 0 {
            surface.layout = BlockLinearLayout(
                upload: channel.register(kind, 0x194),
                widthBytes: UInt64(channel.register(kind, 0x198)),
                height: channel.register(kind, 0x19c), layer: channel.register(kind, 0x1a4))
            guard surface.layout != nil else { throw refuse(.unsupportedValue) }
            surface.originX = UInt64(channel.register(kind, 0x1a8))
            surface.originY = UInt64(channel.register(kind, 0x1ac))
        }
        let upload = channel.upload(kind)
        upload.pointee = InlineUpload(
            to: surface, lineBytes: channel.register(kind, 0x180),
            lines: channel.register(kind, 0x184))
        if !upload.pointee.isActive { try completeUpload(kind) }
    }

    private func loadInlineData(_ kind: NVIDIAClassKind, _ value: UInt32) throws(EngineFailure) {
        let upload = channel.upload(kind)
        guard upload.pointee.isActive else { throw refuse(.unsupportedMethod) }
        var done: UInt64 = 0
        while done < 4, upload.pointee.isActive {
            let stored = try store(
                value, Int(done), upload.pointee.contiguous(4 - done),
                at: upload.pointee.nextAddress)
            upload.pointee.advance(stored)
            done += stored
        }
        tally.inlineBytes &+= done
        if !upload.pointee.isActive { try completeUpload(kind) }
    }

    /// The semaphore's release, if the launch asked for one.
    private func completeUpload(_ kind: NVIDIAClassKind) throws(EngineFailure) {
        let launch = channel.register(kind, 0x1b0)
        guard launch >> 4 & 3 == 2 else { return }
        try release(
            channel.address(kind, 0x1dc), UInt64(channel.register(kind, 0x1e4)), isWide: false,
            hasTimestamp: launch >> 12 & 1 == 0)
    }
}
