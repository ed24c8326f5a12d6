import Fencing

/// The methods of the GPFIFO itself, below 0x100, on any subchannel.
///
/// Source: NVIDIA open-gpu-doc, `clc36f.h`; Turing's and Ada's are the same here.
extension NVIDIAContext {
    func performHost(_ method: UInt32, _ value: UInt32) throws(EngineFailure) -> Progress {
        switch method {
        case 0x00: try bind(value)
        case 0x1c: return try executeSemaphoreD(value)
        case 0x6c: return try executeSemaphore(value)
        case 0x34:
            // Barriers have nothing to wait for; the invalidations of TLBs and access counters are
            // the kernel's.
            switch value >> 27 {
            case 0x05, 0x0d, 0x0e, 0x0f, 0x10, 0x15: break
            default: throw refuse(.unsupportedValue)
            }
        case 0x08, 0x10...0x18, 0x20...0x30, 0x50, 0x5c...0x68, 0x78, 0x80: break
        default: throw refuse(.unsupportedMethod)
        }
        return performState(.host, method, value)
    }

    private func bind(_ value: UInt32) throws(EngineFailure) {
        let classID = UInt16(truncatingIfNeeded: value)
        guard channel.classes.kind(of: classID) != nil else {
            throw refuse(.unknownClass(classID))
        }
        channel.bind(classID, to: current?.subchannel ?? 0)
    }

    /// SEMAPHORED, with the address in SEMAPHOREA/B and the payload in SEMAPHOREC.
    private func executeSemaphoreD(_ value: UInt32) throws(EngineFailure) -> Progress {
        let address = channel.address(.host, 0x10, upperMask: 0xff) & ~3
        let payload = channel.register(.host, 0x18)
        switch value & 0x1f {
        case 0x01: return try acquire(address, payload, .equal)
        case 0x04: return try acquire(address, payload, .circular)
        case 0x08: return try acquire(address, payload, .and)
        case 0x02:
            try release(
                address, UInt64(payload), isWide: false, hasTimestamp: value >> 24 & 1 == 0)
        case 0x10:
            guard let reduction = SemaphoreReduction(hostCode: value >> 27 & 0xf) else {
                throw refuse(.unsupportedValue)
            }
            try reduce(
                address, UInt64(payload), isWide: false, reduction,
                isSigned: value >> 31 == 0)
        default: throw refuse(.unsupportedValue)
        }
        return performState(.host, 0x1c, value)
    }

    /// SEM_EXECUTE, with address and payload of up to 64 bits in the registers before it.
    private func executeSemaphore(_ value: UInt32) throws(EngineFailure) -> Progress {
        let address =
            UInt64(channel.register(.host, 0x60) & 0xff) << 32
            | UInt64(channel.register(.host, 0x5c) & ~3)
        let isWide = value >> 24 & 1 != 0
        var payload = UInt64(channel.register(.host, 0x64))
        if isWide { payload |= UInt64(channel.register(.host, 0x68)) << 32 }
        switch value & 7 {
        case 0: return try acquire(address, payload, .equal, isWide: isWide)
        case 2: return try acquire(address, payload, .greaterOrEqual, isWide: isWide)
        case 3: return try acquire(address, payload, .circular, isWide: isWide)
        case 4: return try acquire(address, payload, .and, isWide: isWide)
        case 5: return try acquire(address, payload, .nor, isWide: isWide)
        case 1:
            try release(
                address, payload, isWide: isWide, hasTimestamp: value >> 25 & 1 != 0)
        case 6:
            guard let reduction = SemaphoreReduction(hostCode: value >> 27 & 0xf) else {
                throw refuse(.unsupportedValue)
            }
            try reduce(
                address, payload, isWide: isWide, reduction, isSigned: value >> 31 == 0)
        default: throw refuse(.unsupportedValue)
        }
        return performState(.host, 0x6c, value)
    }
}
