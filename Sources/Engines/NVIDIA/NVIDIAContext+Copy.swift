#if MUTANTS
    import Fencing
#endif

/// The copy class.
///
/// Source: NVIDIA open-gpu-doc, `clc5b5.h`. With remapping, lengths, widths and origins count
/// elements, without it bytes (Mesa's nvk relies on it).
extension NVIDIAContext {
    private enum Register {
        static let semaphore: UInt32 = 0x240
        static let payload: UInt32 = 0x248
        static let payloadUpper: UInt32 = 0x24c
        static let renderEnable: UInt32 = 0x25c
        static let launch: UInt32 = 0x300
        static let offsetIn: UInt32 = 0x400
        static let offsetOut: UInt32 = 0x408
        static let pitchIn: UInt32 = 0x410
        static let pitchOut: UInt32 = 0x414
        static let lineLength: UInt32 = 0x418
        static let lineCount: UInt32 = 0x41c
        static let constantA: UInt32 = 0x700
        static let constantB: UInt32 = 0x704
        static let components: UInt32 = 0x708
        static let destinationBlock: UInt32 = 0x70c
        static let destinationOrigin: UInt32 = 0x720
        static let sourceBlock: UInt32 = 0x728
        static let sourceOrigin: UInt32 = 0x73c
        static let sourceOriginX: UInt32 = 0x744
        static let destinationOriginX: UInt32 = 0x74c
    }

    func performCopy(_ method: UInt32, _ value: UInt32) throws(EngineFailure) -> Progress {
        switch method {
        case Register.launch:
            channel.setRegister(.copy, method, value)
            return try launchCopy(value)
        case Register.sourceOrigin: setOrigin(Register.sourceOriginX, value)
        case Register.destinationOrigin: setOrigin(Register.destinationOriginX, value)
        case Register.renderEnable:
            // Predicated copies are not carried out; 1 is "always".
            guard value & 7 == 1 else { throw refuse(.unsupportedValue) }
        default: break
        }
        return performState(.copy, method, value)
    }

    /// The packed origin and the pair of registers of 32 bits set the same thing.
    private func setOrigin(_ method: UInt32, _ value: UInt32) {
        channel.setRegister(.copy, method, value & 0xffff)
        channel.setRegister(.copy, method + 4, value >> 16)
    }

    private func launchCopy(_ value: UInt32) throws(EngineFailure) -> Progress {
        // The class with payloads of 64 bits came with Ampere's second copy class.
        let hasWidePayload = channel.classes.copy >= 0xc7b5
        guard let launch = CopyLaunch(value, hasWidePayload: hasWidePayload),
            !launch.reducesSemaphore
                || SemaphoreReduction(hostCode: launch.reduction) != nil && !launch.hasTimestamp
        else { throw refuse(.unsupportedValue) }
        var transfer = Transfer()
        var surfaces = SurfaceCopy()
        if launch.transfers {
            try prepare(launch, &transfer, &surfaces)
            // Moving nothing behind what is under way is a driver's way to wait for it.
            if !launch.isPipelined, !transfer.isActive, !surfaces.isActive {
                channel.hazards.order()
            }
        }
        if launch.releasesSemaphore { channel.hazards.order() }
        #if MUTANTS
            if Mutant.isPlanted("semaphoreBeforeCopy") { try finish(launch) }
        #endif
        start(launch, transfer, surfaces)
        return .launched
    }

    private func prepare(
        _ launch: CopyLaunch, _ transfer: inout Transfer, _ surfaces: inout SurfaceCopy
    ) throws(EngineFailure) {
        var lineLength = UInt64(channel.register(.copy, Register.lineLength))
        let lines =
            launch.isMultiLine ? UInt64(channel.register(.copy, Register.lineCount)) : 1
        // The length of nothing needs no registers that make sense.
        guard lineLength != 0, lines != 0 else { return }
        var remap: ComponentRemap?
        if launch.isRemapped {
            remap = ComponentRemap(
                components: channel.register(.copy, Register.components),
                constantA: channel.register(.copy, Register.constantA),
                constantB: channel.register(.copy, Register.constantB))
            guard remap != nil else { throw refuse(.unsupportedValue) }
        }
        var source = Surface(address: channel.address(.copy, Register.offsetIn))
        var destination = Surface(address: channel.address(.copy, Register.offsetOut))
        source.pitch = UInt64(channel.register(.copy, Register.pitchIn))
        destination.pitch = UInt64(channel.register(.copy, Register.pitchOut))
        if !launch.sourceIsPitch && remap?.readsSource ?? true {
            try setLayout(
                &source, Register.sourceBlock, Register.sourceOriginX,
                elementBytes: UInt64(remap?.sourceBytes ?? 1))
        }
        if !launch.destinationIsPitch {
            try setLayout(
                &destination, Register.destinationBlock, Register.destinationOriginX,
                elementBytes: UInt64(remap?.destinationBytes ?? 1))
        }
        if engine.hazards != .off && channel.hasBarriers {
            let reads = remap?.readsSource ?? true
            let writes = remap?.writesAll ?? true
            try track(
                launch,
                source: reads
                    ? Footprint(
                        source, lineBytes: lineLength * UInt64(remap?.sourceBytes ?? 1),
                        lines: lines) : nil,
                destination: writes
                    ? Footprint(
                        destination,
                        lineBytes: lineLength * UInt64(remap?.destinationBytes ?? 1),
                        lines: lines) : nil)
        }
        if let same = remap, same.isIdentity {
            lineLength *= UInt64(same.sourceBytes)
            remap = nil
        }
        if destination.layout == nil, let made = remap, let pattern = made.fillPattern {
            transfer = Transfer(
                fillLines: lines, of: lineLength * UInt64(made.destinationBytes),
                at: destination.address, destinationPitch: destination.pitch, pattern: pattern)
        } else if source.layout == nil, destination.layout == nil, remap == nil {
            transfer = Transfer(
                lines: lines, of: lineLength, from: source.address, sourcePitch: source.pitch,
                to: destination.address, destinationPitch: destination.pitch)
        } else {
            surfaces = SurfaceCopy(
                from: source, to: destination, lineLength: lineLength, lines: lines, remap: remap)
        }
    }

    private func setLayout(
        _ surface: inout Surface, _ block: UInt32, _ origin: UInt32, elementBytes: UInt64
    ) throws(EngineFailure) {
        surface.layout = BlockLinearLayout(
            blockSize: channel.register(.copy, block),
            widthBytes: UInt64(channel.register(.copy, block + 4)) * elementBytes,
            height: channel.register(.copy, block + 8),
            layer: channel.register(.copy, block + 16))
        guard surface.layout != nil else { throw refuse(.unsupportedValue) }
        surface.originX = UInt64(channel.register(.copy, origin)) * elementBytes
        surface.originY = UInt64(channel.register(.copy, origin + 4))
    }

    /// What a launch does after its copy.
    func finish(_ launch: CopyLaunch) throws(EngineFailure) {
        guard launch.releasesSemaphore else { return }
        let address = channel.address(.copy, Register.semaphore)
        var payload = UInt64(channel.register(.copy, Register.payload))
        if launch.hasWidePayload {
            payload |= UInt64(channel.register(.copy, Register.payloadUpper)) << 32
        }
        if launch.reducesSemaphore,
            let reduction = SemaphoreReduction(hostCode: launch.reduction)
        {
            try reduce(
                address, payload, isWide: launch.hasWidePayload, reduction,
                isSigned: launch.reductionIsSigned)
        } else {
            try release(
                address, payload, isWide: launch.hasWidePayload,
                hasTimestamp: launch.hasTimestamp)
        }
    }
}
